"""What is in the repository beside the code: nothing of one machine, nothing secret, every check named, every version pinned."""

from __future__ import annotations

import re
import subprocess
import tomllib

import pytest

from tests.support.report import report
from tests.support.source import ROOT


def test_every_silenced_check_names_its_rule() -> None:
    blanket = re.compile(r"# *(noqa(?!: *[A-Z]+[0-9])|type: *ignore(?!\[)|mypy: *ignore-errors|ruff: *noqa(?!: *[A-Z]))")
    files = [path for folder in ("minference", "tests", "examples") for path in sorted((ROOT / folder).rglob("*.py"))]
    found = (
        f"{path.relative_to(ROOT)}:{number} {line.strip()}"
        for path in files
        if path.name != "test_repository.py"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if blanket.search(line)
    )
    report(found, "name the rule that is silenced: `# noqa: X123`, `# type: ignore[code]`")


EXAMPLE_USER = "ada"
"""Whose home may appear in tests and texts, since she has an account nowhere."""
MACHINE_PATH = re.compile(rf"(?<![\w.<{{*-])/(?:home|Users|root|work|mnt|data)/(?!{EXAMPLE_USER}\b)[\w.-]+")
REGISTRY_HOST = re.compile(r"(?:pypi\.org|pythonhosted\.org|index-url|registry\.npmjs)", re.IGNORECASE)
KEY = re.compile(r"\b(?:sk-[A-Za-z0-9]{20,}|sk-ant-[A-Za-z0-9-]{20,}|ghp_[A-Za-z0-9]{20,}|AKIA[A-Z0-9]{16})\b")


@pytest.mark.parametrize("pattern", [MACHINE_PATH, REGISTRY_HOST, KEY], ids=["machine path", "registry host", "key"])
def test_no_tracked_file_names_a_machine_a_registry_or_a_key(pattern: re.Pattern[str]) -> None:
    found = (
        f"{name}:{number} {match.group()}"
        for name in _tracked_files()
        if name != "tests/test_repository.py"
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8", errors="ignore").splitlines(), 1)
        if (match := pattern.search(line))
    )
    report(found, "this holds on one machine only, or is secret; write a relative path, a name, or read it from the environment")


def _tracked_files() -> list[str]:
    done = subprocess.run(["git", "ls-files", "-z"], check=False, capture_output=True, text=True, cwd=ROOT)
    if done.returncode != 0:
        pytest.skip("this is no git repository, so there are no tracked files")
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_every_pin_is_a_bare_name_and_version() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    report(
        (line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)), "a pin is `name==version`, nothing else"
    )


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    wanted += [line for lines in project["project"]["optional-dependencies"].values() for line in lines]
    pinned = {_plain_name(line) for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()}
    report((line for line in wanted if _plain_name(line) not in pinned), "add `name==version` of this to constraints.txt")


def _plain_name(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower().replace("_", "-").replace(".", "-")
