"""Mutants: one line of the package broken on purpose for each invariant, and the tests that must notice.

    python -m tests.mutants                     # all of them, some minutes
    python -m tests.mutants ids-are-used-again  # some of them

Each mutant is tried in a copy of the repository in a temporary directory; the working tree is never touched. A mutant that no
test notices survives, and the exit code says so: then a test is missing, or the code that was broken has no effect.
"""
