"""The mutants, by what they break."""

from __future__ import annotations

from tests.mutants.catalogue.branching import BRANCHING
from tests.mutants.catalogue.databases import DATABASES
from tests.mutants.catalogue.databases import ELSEWHERE as ELSEWHERE
from tests.mutants.catalogue.detection import DETECTION
from tests.mutants.catalogue.forking import FORKING
from tests.mutants.catalogue.graphs import GRAPHS
from tests.mutants.catalogue.identity import IDENTITY
from tests.mutants.catalogue.merging import MERGING
from tests.mutants.catalogue.sequences import SEQUENCES
from tests.mutants.catalogue.tracing import TRACING
from tests.mutants.catalogue.writing import WRITING
from tests.mutants.mutant import Mutant

CATALOGUE: dict[str, tuple[Mutant, ...]] = {
    "Identity": IDENTITY,
    "Finding what changed": DETECTION,
    "Making versions": FORKING,
    "Graphs and back-references": GRAPHS,
    "Branches, heads and tags": BRANCHING,
    "Differences and merging": MERGING,
    "Tracing, recording, who and why": TRACING,
    "Writing": WRITING,
    "Ordered fields": SEQUENCES,
    "Databases": DATABASES,
}
"""Under the headings of the page."""

MUTANTS: tuple[Mutant, ...] = tuple(mutant for mutants in CATALOGUE.values() for mutant in mutants)
