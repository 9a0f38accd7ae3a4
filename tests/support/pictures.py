"""The pictures of the README, taken from the product: `python -m tests.support.pictures`."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from contextlib import chdir
from pathlib import Path

from playwright.async_api import async_playwright
from rich.console import Console
from rich.text import Text

from minference.ecs.lineage import short_id
from minference.storage.open import open_storage
from tests.support.chromium import ARGUMENTS, MISSING, find_chromium
from tests.support.pages import run
from tests.support.source import ROOT
from tests.ui.samples import small_talk, travel

PICTURES = ROOT / "docs/pictures"
COLUMNS, LINES = 104, 60
COMMAND = (sys.executable, "-m", "minference.cli.main")
THREAD = "Weekend in Lisbon"


async def fill(path: Path) -> tuple[str, str]:
    """Save some conversations; the address of the one to show, and the version with an edit."""
    async with open_storage(f"sqlite:///{path}") as storage:
        await small_talk(storage, 30)
        thread = await travel(storage)
        versions = await storage.lineage(thread.lineage_id)
        edit = next(each for each in versions if each.commit.note)
        return f"/threads/{thread.lineage_id}/at/{edit.ecs_id}?tip={thread.ecs_id}", short_id(edit.ecs_id)


def in_terminal(folder: Path, *arguments: str) -> str:
    """What a command prints on a terminal, colours included."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    running = subprocess.Popen([*COMMAND, *arguments], stdout=its, stdin=its, stderr=subprocess.DEVNULL, cwd=folder, env=environment)
    os.close(its)
    said = b""
    while True:
        try:
            said += os.read(ours, 65_536)
        except OSError:  # the other side was closed
            break
    os.close(ours)
    if running.wait() != 0:
        raise SystemExit(f"{' '.join(arguments)} failed: {said.decode()}")
    return said.decode().replace("\r\n", "\n")


def draw_terminal(folder: Path, edit: str) -> None:
    """Three commands and what they print."""
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"), force_terminal=True, color_system="truecolor")  # noqa: SIM115
    for arguments in (("lineage", THREAD), ("threads", "diff", edit), ("threads", "search", "train", "cascais")):
        typed = " ".join(f'"{each}"' if " " in each else each for each in arguments)
        console.print(Text(f"$ minference {typed}", style="bold"))
        console.print(Text.from_ansi(in_terminal(folder, *arguments).rstrip("\n")))
        console.print()
    drawn = console.export_svg(title="minference")
    without_fonts = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)  # they would be fetched from elsewhere
    (PICTURES / "terminal.svg").write_text(without_fonts.replace("Fira Code", "ui-monospace, Menlo, Consolas"), encoding="utf-8")


def draw_tree(folder: Path, page: str, end: str, picture: str) -> None:
    """The tree of a page's thread, as it is before one of its headings."""
    before = (ROOT / "docs" / page).read_text(encoding="utf-8").partition(end)[0]
    folder = Path(tempfile.mkdtemp(dir=folder))
    with chdir(folder):
        asyncio.run(run(page, before))
    in_terminal(folder, "lineage", "garden", "-d", "chats.db", "--svg", str(PICTURES / picture))


async def take(folder: Path, path: str) -> None:
    """The inspector as a browser shows it."""
    program = find_chromium()
    if program is None:
        raise SystemExit(MISSING)
    command = [*COMMAND, "ui", "--no-browser", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=folder) as running:
        assert running.stdout is not None
        address = running.stdout.readline().split()[-1]
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
            page = await browser.new_page(viewport={"width": 1280, "height": 900}, device_scale_factor=1.5)
            await page.goto(address)
            await page.goto(address.split("/?")[0] + path)
            await page.screenshot(path=PICTURES / "inspector.png")
            await browser.close()
        running.terminate()


def main() -> None:
    """Take all pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, edit = asyncio.run(fill(folder / "minference.db"))
        draw_terminal(folder, edit)
        draw_tree(folder, "tutorial.md", "## A merge", "garden.svg")
        draw_tree(folder, "versions.md", "## Races", "versions.svg")
        asyncio.run(take(folder, path))
    print(f"taken: {', '.join(sorted(each.name for each in PICTURES.iterdir()))}")


if __name__ == "__main__":
    main()
