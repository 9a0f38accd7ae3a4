"""The parts of docs/formats.md that follow from the code: what each provider can do, and the fields of a profile.

`python -m tests.support.formats_page` writes them into the page, between the lines `<!-- begin NAME -->` and `<!-- end NAME -->`.
"""

from __future__ import annotations

from pathlib import Path

from minference import profiles
from minference.profiles import Profile, built_in_profiles
from minference.threads.formats import Means, ResponseFormat, capabilities
from tests.support.generated import with_parts, write_anew
from tests.support.source import ROOT
from tests.support.tables_page import declared

PAGE = ROOT / "docs/formats.md"
LEFT_OUT = ("scripted",)


def matrix() -> str:
    """A row for each form of reply, a column for each provider."""
    shown = [profile for name, profile in built_in_profiles().items() if name not in LEFT_OUT]
    lines = [f"| | {' | '.join(f'`{profile.name}`' for profile in shown)} |", f"|---|{'---|' * len(shown)}"]
    cells = {profile.name: capabilities(profile) for profile in shown}
    lines += [f"| `{wanted.value}` | {' | '.join(_cell(cells[each.name][wanted]) for each in shown)} |" for wanted in ResponseFormat]
    return "\n".join(lines)


def _cell(means: Means | None) -> str:
    return "no" if means is None else means.value


def refusals() -> str:
    """What a provider cannot do beside a form of reply."""
    lines = []
    for name, profile in built_in_profiles().items():
        if not profile.reasons_before_forced_tool:
            lines.append(
                f"- `{name}`: `reasoner=True` with a tool that must be called (`tool`, `workflow`, and every *forced tool* above)."
            )
        missing = [effort for effort in ("none", "minimal", "low", "medium", "high", "max") if effort not in profile.efforts]
        if profile.reasoning == "unsupported":
            lines.append(f"- `{name}`: any `reasoning_effort`.")
        elif missing:
            lines.append(f"- `{name}`: `reasoning_effort` {', '.join(f'`{effort}`' for effort in missing)}.")
    return "\n".join(lines)


def fields() -> str:
    """What a table of providers.toml can say."""
    _, told = declared(profiles)["Profile"]
    lines = ["| field | by default | meaning |", "|---|---|---|"]
    for name, field in Profile.model_fields.items():
        if name != "name":
            default = "needed" if field.is_required() else f"`{_toml(field.get_default(call_default_factory=True))}`"
            lines.append(f"| `{name}` | {default} | {told.get(name) or 'Which protocol the server speaks.'} |")
    return "\n".join(lines)


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case None:
            return "nothing"
        case str():
            return f'"{value}"'
        case tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return "{}"
        case _:
            return str(value)


def filled(page: str) -> str:
    """The page with everything that follows from the code."""
    return with_parts(page, {"matrix": matrix(), "refusals": refusals(), "fields": fields()})


def main(path: Path = PAGE) -> None:
    """Write the page anew."""
    write_anew(path, filled)


if __name__ == "__main__":
    main()
