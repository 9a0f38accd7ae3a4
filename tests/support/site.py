"""The documentation as a site with the API reference: `python -m tests.support.site` writes it to `build/site`.

The pages of `docs/` stay what they are, to be read anywhere. Here they get an order, links that stay within the site, and beside
them what the docstrings say of every public name. A link that leads nowhere ends the build.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from posixpath import normpath
from typing import Any

import minference
from tests.support.diagrams import FENCE, draw
from tests.support.source import ROOT

BUILD = ROOT / "build"
SOURCE, SITE = BUILD / "site-source", BUILD / "site"

ORDER: Mapping[str, Sequence[str]] = {
    "Begin": ("index.md", "tutorial.md", "README.md"),
    "Work with it": (
        "versions.md",
        "running.md",
        "distributed.md",
        "tools.md",
        "formats.md",
        "attachments.md",
        "inspector.md",
        "testing.md",
        "observing.md",
    ),
    "Data": ("tables.md", "evolution.md", "erasing.md", "operations.md", "security.md"),
    "Reference": (),
    "Behind it": ("comparison.md", "seeds.md", "invariants.md", "benchmarks.md", "tried.md", "CONTRIBUTING.md", "CHANGELOG.md"),
}
"""Sections, and their pages as far as there are any. Other pages of `docs/` come at the end of the second section."""

NAMES = {"index.md": "All pages", "README.md": "In five minutes"}

OUTSIDE = {"README.md": "readme.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Files beside `docs/` that are pages of the site too."""

REFERENCE: Mapping[str, Sequence[str]] = {
    "threads": ("threads.media",),
    "inference": (
        "inference.budgets", "inference.prices", "inference.retries", "inference.events", "inference.progress", "inference.sandbox",
        "inference.redis_limits",
    ),
    "distributed": ("distributed.queue", "distributed.worker", "distributed.parts.PartDone"),
    "ecs": ("ecs.lineage", "ecs.diff", "ecs.blobs"),
    "storage": ("storage.base.EntityStorage", "storage.runs"),
    "testing": ("testing",),
    "errors": ("errors",),
}  # fmt: skip
"""Of each part, what is public beside the names of the front door in it."""

TITLES = {
    "threads": "Threads",
    "inference": "Inference",
    "distributed": "Several machines",
    "ecs": "Entities",
    "storage": "Storage",
    "testing": "Testing",
    "errors": "Errors",
}

_LINK = re.compile(r"(!?)\[([^\]\n]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"(^```.*?^```[^\n]*$)", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"<code>.*?</code>")


def main() -> None:
    """Write the site."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(ROOT / "docs", SOURCE)
    for path in [*(ROOT / "docs").glob("*.md"), *map(ROOT.joinpath, OUTSIDE)]:
        name = OUTSIDE.get(path.relative_to(ROOT).as_posix(), path.name)
        page = site_page(path.read_text(encoding="utf-8"), path, lambda block: draw(block, SOURCE / "diagrams"))
        (SOURCE / name).write_text(page, encoding="utf-8")
    (SOURCE / "api").mkdir()
    for part in REFERENCE:
        (SOURCE / f"api/{part}.md").write_text(reference_page(part), encoding="utf-8")
    (SOURCE / "site.css").write_text(CSS, encoding="utf-8")
    (BUILD / "mkdocs.yml").write_text(json.dumps(configuration(), indent=2), encoding="utf-8")  # JSON is YAML
    done = subprocess.run([sys.executable, "-m", "zensical", "build", "--strict", "--clean"], cwd=BUILD, check=False)
    if done.returncode:
        raise SystemExit("the site was not built: put right what is told above")
    print("built; to read it:  python3 -m http.server --directory build/site --bind 127.0.0.1")


def site_page(text: str, path: Path, drawn: Callable[[str], str]) -> str:
    """A page of the repository as one of the site: prose is adapted, diagrams are drawn, programs stay as they are."""
    return "".join(_site_part(part, path, drawn) for part in _FENCE.split(text))


def _site_part(part: str, path: Path, drawn: Callable[[str], str]) -> str:
    if part.startswith(FENCE):
        return drawn(part)
    return part if part.startswith("```") else _adapt(part, path)


def _adapt(prose: str, path: Path) -> str:
    prose = _LINK.sub(lambda match: _link(match, path), prose)
    return _CODE.sub(lambda match: match[0].replace("[", "&#91;"), prose)


def _link(match: re.Match[str], path: Path) -> str:
    """A link within the site; what is there but no page becomes text."""
    picture, words, target, place = match.groups()
    if "://" in target:
        return match[0]
    wanted = normpath((path.parent.relative_to(ROOT) / target).as_posix())
    if wanted in OUTSIDE or wanted.startswith("docs/"):
        return f"{picture}[{words}]({OUTSIDE.get(wanted, wanted.removeprefix('docs/'))}{place or ''})"
    return words if (ROOT / wanted).exists() else match[0]


def public_names(part: str) -> Iterator[str]:
    """Where the names of the front door that belong to a part are defined."""
    for name in minference.__all__:
        home = getattr(minference, name).__module__.removeprefix("minference.")
        if home.partition(".")[0] == part and home not in REFERENCE[part]:
            yield f"{home}.{name}"


def reference_page(part: str) -> str:
    """The public names of a part, with a place where each docstring goes."""
    front = sorted(public_names(part), key=lambda each: each.rpartition(".")[2].lower())
    lines = [f"# {TITLES[part]}", ""]
    if front:
        lines += ["Names that `from minference import …` gives, and after them modules for those who need more.", ""]
    for each in front:
        lines += [f"::: minference.{each}", ""]
    for each in REFERENCE[part]:
        lines += [f"::: minference.{each}", "    options:", "      show_root_full_path: true"]
        lines += ["      inherited_members: true", ""] if each.endswith(".EntityStorage") else [""]
    return "\n".join(lines)


def configuration() -> dict[str, Any]:
    """What the builder is told."""
    return {
        "site_name": "minference",
        "site_description": "Git for conversations, with a fleet of models attached.",
        "docs_dir": SOURCE.name,
        "site_dir": SITE.name,
        "use_directory_urls": False,
        "nav": navigation(),
        "extra_css": ["site.css"],
        "theme": {
            "font": False,  # those of the machine: nothing is fetched
            "icon": {"logo": "lucide/git-branch"},
            "features": [
                "navigation.sections", "navigation.top", "navigation.footer", "content.code.copy", "search.highlight", "toc.follow",
            ],
            "palette": [
                {"media": "(prefers-color-scheme)", "toggle": {"icon": "lucide/sun-moon", "name": "Light"}},
                {"media": "(prefers-color-scheme: light)", "scheme": "default", "toggle": {"icon": "lucide/sun", "name": "Dark"}},
                {"media": "(prefers-color-scheme: dark)", "scheme": "slate", "toggle": {"icon": "lucide/moon", "name": "As the system"}},
            ],
        },
        "markdown_extensions": [
            "admonition", "attr_list", "tables", {"toc": {"permalink": True}}, "pymdownx.highlight", "pymdownx.superfences",
            "pymdownx.inlinehilite",
        ],
        "plugins": ["search", {"mkdocstrings": {"handlers": {"python": {"paths": [str(ROOT)], "options": OPTIONS}}}}],
        "extra": {"generator": False},
    }  # fmt: skip


OPTIONS = {
    "docstring_style": "google",
    "docstring_section_style": "list",
    "show_source": False,
    "show_root_heading": True,
    "show_root_full_path": False,
    "show_symbol_type_heading": True,
    "show_labels": False,
    "show_signature_annotations": True,
    "separate_signature": True,
    "signature_crossrefs": True,
    "members_order": "source",
    "heading_level": 2,
    "filters": ["!^_", "!^model_config$"],
}

CSS = """
.md-typeset table:not([class]) code { white-space: normal; overflow-wrap: anywhere; }
.md-typeset img { border-radius: .3rem; }
.md-typeset p:has(img.diagram) { overflow-x: auto; }
.md-typeset img.diagram { max-width: none; padding: .6rem; background: #fff; cursor: zoom-in; }
.doc-contents { border-left: .05rem solid var(--md-default-fg-color--lightest); padding-left: 1rem; margin-bottom: 1.6rem; }
"""


def navigation() -> list[dict[str, Any]]:
    """The pages in their order, by section."""
    there = {*(path.name for path in (ROOT / "docs").glob("*.md")), *OUTSIDE}
    named = {page for pages in ORDER.values() for page in pages}
    sections: list[dict[str, Any]] = []
    for title, pages in ORDER.items():
        more = sorted(there - named) if title == "Work with it" else []
        listed: list[Any] = [_entry(page) for page in [*pages, *more] if page in there]
        sections.append({title: listed or [{TITLES[part]: f"api/{part}.md"} for part in REFERENCE]})
    return sections


def _entry(page: str) -> str | dict[str, str]:
    """A page under its own title, or another that says more beside its neighbours."""
    name = OUTSIDE.get(page, page)
    return {NAMES[page]: name} if page in NAMES else name


if __name__ == "__main__":
    main()
