"""The browser in which the inspector is tried: found, or installed where that is possible without asking anybody."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
"""Pages come from this machine only, and tests may run as root, where Chromium has no sandbox."""
MISSING = (
    "there is no Chromium here: `make setup` installs it on Debian for root (apt-get install chromium); "
    "elsewhere install it, or name its program in the environment variable CHROMIUM"
)


def find_chromium() -> str | None:
    """The program; `None` if there is none."""
    named = os.environ.get("CHROMIUM")
    if named is not None:
        return named if Path(named).is_file() else None
    return next(filter(None, map(shutil.which, NAMES)), None)


def install() -> None:
    """Install Debian's Chromium, if this is Debian and we may; says what it does. Never fails: tests say what they lack."""
    if find_chromium() is not None:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        print(f"Some tests will be skipped: {MISSING}")
        return
    print("Installing Chromium for the tests of the inspector (apt-get, about a minute)", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (("update",), ("install", "--yes", "--no-install-recommends", "chromium")):
        done = subprocess.run(["apt-get", "-qq", *arguments], env=quiet, stdout=subprocess.DEVNULL, check=False)
        if done.returncode != 0 and arguments[0] == "install":  # what is known of packages may do without an update
            print(f"apt-get {arguments[0]} failed; some tests will be skipped: {MISSING}")
            return


if __name__ == "__main__":
    install()
