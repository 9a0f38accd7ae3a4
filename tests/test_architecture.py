"""The shape of the code: which way imports run, how long things get, who may touch what.

Each rule is data at the top. A rule that fails says what to do; a new module gets its place here in the same commit.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests.support.report import report
from tests.support.source import PACKAGE, Source, length_without_docstring, package_sources
from tests.support.state import changed_globals

LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "settings", "logs", "profiles", "waiting", "usage"),
    ("ecs",),
    ("storage",),
    ("threads",),
    ("clients",),
    ("inference",),
    ("testing",),
    ("cli", "ui", "distributed", "__main__"),
)
"""Modules and packages of minference, the lowest first. Each imports only from its own place and from those above it here."""

UPWARD_ON_PURPOSE = {
    ("minference.threads.outputs", "minference.clients.rebuilding"): "a raw output has its request rendered when it is asked",
}
"""Imports inside a function from a higher layer, and why."""

CIRCLES_ON_PURPOSE = {
    ("minference.threads.outputs", "minference.clients.rebuilding"): "a raw output has its request rendered when it is asked",
    ("minference.ecs.entity", "minference.ecs.registry"): "Entity.get and fork find the current storage when they are called",
    ("minference.ecs.blobs", "minference.ecs.registry"): "a blob finds the current storage when it is read",
    ("minference.ecs.entity", "minference.ecs.comparing"): "entities compare themselves with others when they are asked",
    ("minference.ecs.entity", "minference.ecs.showing"): "an entity shows itself when it is printed",
    ("minference.ecs.entity", "minference.ecs.erasing"): "a class that does not say what is left of its values gets empty ones",
    ("minference.ecs.diff", "minference.ecs.diff_render"): "a diff shows itself when it is printed",
    ("minference.ecs.lineage", "minference.ecs.lineage_graph"): "a lineage draws itself when a notebook shows it",
    ("minference.ecs.lineage", "minference.ecs.lineage_svg"): "a lineage draws itself when a notebook shows it",
    ("minference.threads.thread", "minference.threads.notebook"): "a thread shows itself when a notebook prints it",
    ("minference.ecs.plan", "minference.ecs.entity"): "compiling a class asks which of its annotations are entities",
    ("minference.ecs.defaults", "minference.ecs.entity"): "completing a class asks which of its defaults are entities",
}
"""Imports inside a function that close a circle between modules of one layer, and why."""

LONGEST_FILE = 400
LONGEST_FUNCTION = 50
LONGER_ON_PURPOSE = {"minference/errors.py": "one tree of errors, drawn at its top: short classes, and no logic to get lost in"}

OWNERS: dict[str, tuple[str, ...]] = {
    "sqlalchemy": (
        "minference/storage/sql/",
        "minference/threads/tables.py",
        "minference/threads/reading.py",
        "minference/threads/listing.py",
        "minference/threads/statistics.py",
    ),
    "alembic": ("minference/storage/sql/",),
    "aiosqlite": ("minference/storage/sql/",),
    "asyncpg": ("minference/storage/sql/",),
    "sqlite3": ("minference/storage/sql/",),
    "openai": ("minference/clients/openai",),
    "anthropic": ("minference/clients/anthropic",),
    "httpx2": ("minference/clients/", "minference/inference/mcp_connections.py"),
    "aiohttp": ("minference/clients/",),
    "xllamacpp": ("minference/clients/local",),
    "typer": ("minference/cli/",),
    "rich": ("minference/cli/", "minference/inference/pace.py", "minference/inference/progress.py", "minference/ecs/diff_render.py"),
    "mcp": ("minference/inference/mcp",),
    "pydantic_monty": ("minference/inference/sandbox.py",),
    "starlette": ("minference/ui/", "minference/testing/"),
    "uvicorn": ("minference/ui/server.py", "minference/testing/"),
    "jinja2": ("minference/ui/templating.py",),
    "tenacity": ("minference/inference/",),
    "redis": ("minference/inference/redis_limits.py",),
    "procrastinate": ("minference/distributed/engine.py",),
    "psycopg": ("minference/distributed/",),
    "opentelemetry": ("minference/inference/telemetry.py",),
    "genai_prices": ("minference/inference/prices.py",),
    "asyncio": ("minference/waiting.py", "minference/storage/", "minference/inference/"),
}
"""Who may import what, at run time; a name ending in `/` is a folder, one without `.py` is the beginning of a file's name."""

ASYNCIO_ELSEWHERE = {
    "minference/clients/transport.py": "one deadline around each call of an SDK, and connections that belong to an event loop",
    "minference/clients/local": "owns the child process of the embedded model",
    "minference/cli/": "a command is where asyncio.run is called",
    "minference/clients/departure.py": "a request may leave from another thread, and who hears of it is in an event loop",
    "minference/ui/door.py": "one lock around opening the database",
    "minference/distributed/": "a worker owns its jobs, and the connection that claims their threads",
    "minference/testing/": "a provider on a socket of this machine serves until the test is over",
}
"""Who else may use asyncio, and for what."""

IMPORTED_ON_FIRST_USE = ("openai", "anthropic", "xllamacpp", "mcp", "pydantic_monty", "redis", "genai_prices", "opentelemetry")
"""Imported inside the function that needs it, never when a module of ours is imported."""

MODULE_STATE = {
    ("minference/ecs/callables.py", "_FUNCTIONS"): "the functions that the application registered as tools",
    ("minference/ecs/sameness.py", "own_equality"): "the entity classes that define equality, filled while classes are defined",
    ("minference/ecs/entity.py", "_KINDS"): "the entity classes of the program, filled while classes are defined",
    ("minference/ecs/identity.py", "_clock"): "version ids increase strictly within the process",
    ("minference/inference/garbage.py", "_runs"): "the garbage collector is one for the whole process",
    ("minference/storage/modules.py", "_MODULES"): "names of modules with tables, noted while entity classes are defined",
    ("minference/threads/sources.py", "_TRUSTED"): "the source texts that the application vouches for, each by itself",
    ("minference/storage/sql/registered.py", "_HOMES"): "which table each entity class has, filled while tables are defined",
}
"""Module-level objects that change, and why each may."""

ALL_SOURCES = package_sources()


@cache
def sound_sources() -> tuple[Source, ...]:
    """The files that can be parsed; parsed when a test asks, not by each process that collects tests."""
    return tuple(source for source in ALL_SOURCES if source.syntax_error is None)


def _layer_of(module: str) -> int:
    """The layer of one of our modules. The front door names everything, so it belongs to the highest."""
    parts = module.split(".")
    if len(parts) == 1:
        return len(LAYERS) - 1
    for number, names in enumerate(LAYERS):
        if parts[1] in names:
            return number
    pytest.fail(f"{module} has no place: add {parts[1]!r} to LAYERS in tests/test_architecture.py", pytrace=False)


def _our_imports() -> Iterator[tuple[Source, str, int]]:
    for source in sound_sources():
        for imported in source.imports():
            if imported.module.partition(".")[0] == PACKAGE.name and imported.module != source.module:
                yield source, imported.module, imported.line


def test_every_file_is_python_as_old_as_we_promise() -> None:
    report((source.syntax_error for source in ALL_SOURCES if source.syntax_error), "write this in Python 3.11")


def test_imports_point_one_way() -> None:
    found = []
    for source, module, line in _our_imports():
        if _layer_of(module) > _layer_of(source.module) and (source.module, module) not in UPWARD_ON_PURPOSE:
            found.append(f"{source.name}:{line} imports {module}")
    report(found, "a lower layer imports a higher one; move the code up, or hand in what it needs as an argument")


def test_there_is_no_import_cycle() -> None:
    edges: dict[str, set[str]] = {source.module: set() for source in sound_sources()}
    for source, module, _ in _our_imports():
        if (source.module, module) not in CIRCLES_ON_PURPOSE:
            edges[source.module].add(module)
    report((" -> ".join(cycle) for cycle in _cycles(edges)), "modules import each other in a circle; move what both need into a third")


def _cycles(edges: dict[str, set[str]]) -> Iterator[list[str]]:
    done: set[str] = set()
    for start in edges:
        if start in done:
            continue
        path: list[str] = [start]
        branches = [iter(sorted(edges[start]))]
        while path:
            following = next(branches[-1], None)
            if following is None:
                done.add(path.pop())
                branches.pop()
            elif following in path:
                yield [*path[path.index(following) :], following]
            elif following not in done:
                path.append(following)
                branches.append(iter(sorted(edges.get(following, ()))))


def test_exceptions_from_the_import_rules_are_still_needed() -> None:
    made = {(source.module, module) for source, module, _ in _our_imports()}
    report(
        (f"{a} -> {b}" for a, b in CIRCLES_ON_PURPOSE if (a, b) not in made),
        "nobody imports this any more; take it out of CIRCLES_ON_PURPOSE",
    )


def test_files_are_short() -> None:
    found = (
        f"{source.name}: {len(source.lines)} lines"
        for source in sound_sources()
        if len(source.lines) > LONGEST_FILE and source.name not in LONGER_ON_PURPOSE
    )
    report(found, f"a file has at most {LONGEST_FILE} lines; split it by what it is about")


def test_functions_are_short() -> None:
    found = (
        f"{source.name}:{function.lineno} {function.name}: {length} lines"
        for source in sound_sources()
        for function in source.functions()
        if (length := length_without_docstring(function)) > LONGEST_FUNCTION
    )
    report(found, f"a function has at most {LONGEST_FUNCTION} lines; give its steps names of their own")


@pytest.mark.parametrize("package", OWNERS)
def test_a_library_is_imported_only_where_it_belongs(package: str) -> None:
    allowed = OWNERS[package] + (tuple(ASYNCIO_ELSEWHERE) if package == "asyncio" else ())
    found = (
        f"{source.name}:{imported.line} imports {imported.module}"
        for source in sound_sources()
        for imported in source.imports()
        if imported.module.partition(".")[0] == package and not source.name.startswith(allowed)
    )
    report(found, f"{package} is used only in {', '.join(allowed)}; call that, or add the file to OWNERS with its reason")


def test_vendor_sdks_are_imported_on_first_use() -> None:
    found = (
        f"{source.name}:{imported.line} imports {imported.module}"
        for source in sound_sources()
        for imported in source.imports()
        if imported.at_module_level and imported.module.partition(".")[0] in IMPORTED_ON_FIRST_USE
    )
    report(found, "an SDK takes seconds to import; do it inside the function that makes the first call")


BROAD = {"Exception", "BaseException"}


def test_broad_excepts_say_why() -> None:
    found = (
        f"{source.name}:{handler.lineno} {source.lines[handler.lineno - 1].strip()}"
        for source in sound_sources()
        for handler in ast.walk(source.tree)
        if isinstance(handler, ast.ExceptHandler) and _is_broad(handler) and not _says_why(source, handler) and not _raises_again(handler)
    )
    report(found, "name the errors that are expected here, or write `# noqa: BLE001 - reason`")


def _is_broad(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or (isinstance(kind, ast.Name) and kind.id in BROAD) for kind in kinds)


def _raises_again(handler: ast.ExceptHandler) -> bool:
    """Passing an error on, as it is or as the cause of one of ours, hides nothing."""
    raised = [node for statement in handler.body for node in ast.walk(statement) if isinstance(node, ast.Raise)]
    return any(node.exc is None or (isinstance(node.cause, ast.Name) and node.cause.id == handler.name) for node in raised)


def _says_why(source: Source, handler: ast.ExceptHandler) -> bool:
    return re.search(r"# noqa: BLE001(?:, ?[A-Z]+[0-9]+)*+\W+[a-z]", source.lines[handler.lineno - 1]) is not None


def test_modules_hold_no_state() -> None:
    found = (
        f"{source.name}:{line} {name}"
        for source in sound_sources()
        for name, line in changed_globals(source)
        if (source.name, name) not in MODULE_STATE
    )
    report(found, "hand the object in, or use a context variable; if it must be, list it in MODULE_STATE with the reason")


def test_permitted_state_still_exists() -> None:
    seen = {(source.name, name) for source in sound_sources() for name, _ in changed_globals(source)}
    report((f"{file} {name}" for file, name in MODULE_STATE if (file, name) not in seen), "this is gone; take it out of MODULE_STATE")
