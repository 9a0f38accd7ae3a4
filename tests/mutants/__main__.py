"""Breaks the package in every way that is listed, and shows which test noticed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.mutants.catalogue import MUTANTS
from tests.mutants.laboratory import Laboratory, Run, laboratory
from tests.mutants.mutant import MovedOn, Mutant
from tests.mutants.page import FILE, page
from tests.support.source import ROOT


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutants that are named, or all; 0 if a test noticed each."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants to try; all if none is named")
    parser.add_argument("--page", action="store_true", help=f"only write {FILE} anew")
    parser.add_argument("--output", action="store_true", help="show what the tests said of each mutant")
    wanted = parser.parse_args(arguments)
    if wanted.page:
        (ROOT / FILE).write_text(page(ROOT), encoding="utf-8")
        return 0
    known = {mutant.name: mutant for mutant in MUTANTS}
    if strange := [name for name in wanted.names if name not in known]:
        parser.error(f"no mutant is called {', '.join(strange)}")
    return _try_all([known[name] for name in wanted.names] or list(MUTANTS), show_output=wanted.output)


def _try_all(mutants: list[Mutant], *, show_output: bool) -> int:
    with laboratory(ROOT) as copy:
        tests = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
        healthy = copy.run(tests)
        if healthy.outcome != "passed":
            print(healthy.output)
            print(f"The tests do not pass as the code is ({healthy.outcome}): no mutant was tried.")
            return 2
        bad = 0
        for mutant in mutants:
            run = _try(copy, mutant)
            noticed = run.outcome in ("failed", "hangs")
            bad += not noticed
            verdict = f"killed by {run.failed or 'a test that hangs'}" if noticed else run.outcome
            print(f"{mutant.name:<44} {verdict}", flush=True)
            if show_output or run.outcome == "DOES NOT RUN":
                print(run.output)
        print(f"\n{len(mutants)} mutants, {len(mutants) - bad} killed, {bad} not")
    return 1 if bad else 0


def _try(copy: Laboratory, mutant: Mutant) -> Run:
    try:
        run = copy.run(mutant.tests, mutant)
    except MovedOn as error:
        return Run("THE CODE HAS MOVED ON", None, str(error))
    words = {"passed": "SURVIVED", "broken": "DOES NOT RUN"}
    return Run(words.get(run.outcome, run.outcome), run.failed, run.output)


if __name__ == "__main__":
    sys.exit(main())
