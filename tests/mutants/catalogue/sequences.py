"""The span algebra: the two rules that carry it, and what it costs."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_MODEL = "tests/storage/test_sequences.py::test_every_version_ever_stored_is_restored_exactly_whatever_was_stored_after"

SEQUENCES = (
    Mutant(
        name="a-taken-cell-is-written-again",
        promise="A run cell belongs to whoever writes it first: who finds it taken starts a run of its own",
        marks=("I7", "I12"),
        file="minference/storage/sequences.py",
        old="    if ends.get(last.run, last.run.end) != at:\n        return None\n",
        new="",
        tests=(_MODEL,),
    ),
    Mutant(
        name="a-list-cut-short-is-extended-in-place",
        promise="A sequence is extended in place only if the list ends in its open span",
        marks=("I1", "I12"),
        file="minference/storage/sequences.py",
        old="ends_open=old.ends_open and len(spans) == len(old.spans))",
        new="ends_open=old.ends_open)",
        tests=(_MODEL,),
    ),
    Mutant(
        name="a-loaded-list-cut-short-is-extended-in-place",
        promise="The same holds of a list that was loaded",
        marks=("I1", "I12"),
        file="minference/storage/sequences.py",
        old="    return tuple(inside), bool(spans) and len(inside) == len(spans)",
        new="    return tuple(inside), bool(spans)",
        tests=(_MODEL,),
    ),
    Mutant(
        name="the-open-span-is-not-cut",
        promise="The length that the owner stores cuts the open span: what is appended later is not in an older version",
        marks=("I1", "I12"),
        file="minference/storage/sequences.py",
        old="Span(run, start, min(size, length - position)) for position",
        new="Span(run, start, min(size, run.end - start)) for position",
        tests=(_MODEL,),
    ),
    Mutant(
        name="an-append-in-the-same-transaction-takes-the-same-cell",
        promise="Two branches that append in one transaction take different cells",
        marks=("I7",),
        file="minference/storage/sequences.py",
        old="    ends[last.run] = at + len(added)\n",
        new="",
        tests=("tests/storage/test_pending.py::test_branches_that_wait_are_written_in_one_transaction_and_know_of_each_other[sqlite]",),
    ),
    Mutant(
        name="another-process-s-cells-are-not-looked-at",
        promise="That another process has taken a cell is found out and taken into account",
        marks=("I7",),
        file="minference/storage/sql/writer.py",
        old="                for run in runs[key]:\n                    run.end = end",
        new="                pass",
        tests=("tests/storage/test_races.py::test_each_who_appends_keeps_its_message[sqlite]",),
    ),
    Mutant(
        name="an-append-writes-the-list-again",
        promise="Appending writes one cell and no span, at any length",
        marks=("I11", "P16"),
        file="minference/storage/sequences.py",
        old="        if extended is not None:\n            return extended",
        new="",
        tests=("tests/storage/test_sequences.py::test_appending_writes_one_cell_and_no_span_at_any_length",),
    ),
    Mutant(
        name="an-edit-is-taken-for-a-new-list",
        promise="An append hands on what was added, not the list: rows per append are the same at any length",
        marks=("I11",),
        file="minference/ecs/sequence_edit.py",
        old="    middle = now[head : len(now) - tail]\n",
        new="    return SequenceEdit(0, now, 0, length, now, len(now))\n",
        tests=("tests/storage/test_sequences.py::test_a_turn_writes_as_many_rows_on_a_long_thread_as_on_a_short_one[sqlite]",),
    ),
    Mutant(
        name="spans-grow-without-end",
        promise="A sequence never has more spans than the limit",
        file="minference/storage/sequences.py",
        old="    if sum(len(part) if isinstance(part, tuple) else 1 for part in parts) > MAX_SPANS:",
        new="    if False:",
        tests=("tests/storage/test_sequences.py::test_a_sequence_never_has_more_spans_than_the_limit",),
    ),
    Mutant(
        name="a-branch-copies-what-was-before",
        promise="A branch shares everything before it",
        marks=("I11",),
        file="minference/storage/sequences.py",
        old="    yield part_of(old.spans, 0, edit.head)\n",
        new="    yield edit.versions[: edit.head]\n",
        tests=("tests/storage/test_sequences.py::test_a_branch_writes_its_own_cell_and_shares_the_rest",),
    ),
    Mutant(
        name="what-is-between-two-changes-is-written-again",
        promise="An edit writes what it changes, also if it changes several places",
        marks=("I11",),
        file="minference/ecs/sequence_edit.py",
        old="    return tuple(kept for kept in _in_a_row(old, begin, end, middle) if kept.length >= _WORTH_KEEPING)",
        new="    return ()",
        tests=("tests/storage/test_sequences.py::test_an_edit_in_several_places_writes_those_and_shares_the_rest",),
    ),
)
