"""The catalogue of mutants fits the code as it is. `make mutants` tries them."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator

from tests.mutants.catalogue import ELSEWHERE, MUTANTS
from tests.mutants.mutant import MovedOn
from tests.mutants.page import FILE, page
from tests.support.report import report
from tests.support.source import ROOT, Source


def test_every_mutant_has_a_name_of_its_own() -> None:
    report([name for name, count in Counter(mutant.name for mutant in MUTANTS).items() if count > 1], "call these differently")


def test_the_text_that_each_mutant_breaks_is_there_once_and_the_broken_file_is_python() -> None:
    report(_unfit(), "the code has moved on: adapt the mutants in tests/mutants/catalogue")


def _unfit() -> Iterator[str]:
    for mutant in MUTANTS:
        try:
            ast.parse(mutant.applied(ROOT))
        except (MovedOn, SyntaxError) as error:
            yield f"{mutant.name}: {error}"


def test_the_tests_that_must_notice_exist() -> None:
    named = {test.partition("[")[0] for mutant in MUTANTS for test in mutant.tests}
    there = {f"{file}::{function.name}" for file in {test.partition("::")[0] for test in named} for function in _functions(file)}
    report(sorted(named - there), "mutants name tests that are gone: name those that keep the promise now")


def _functions(file: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return Source(ROOT / file).functions() if (ROOT / file).exists() else iter(())


def test_every_invariant_and_pitfall_of_the_design_is_accounted_for() -> None:
    numbers = [*(f"I{number}" for number in range(1, 14)), *(f"P{number}" for number in range(1, 17))]
    broken = {mark for mutant in MUTANTS for mark in mutant.marks}
    assert broken | ELSEWHERE.keys() == set(numbers)
    assert broken & ELSEWHERE.keys() == set()


def test_the_page_tells_what_the_catalogue_says() -> None:
    assert (ROOT / FILE).read_text(encoding="utf-8") == page(ROOT), "write it anew: python -m tests.mutants --page"
