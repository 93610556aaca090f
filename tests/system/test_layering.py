"""The shape of the package.

errors <- wire <- extensions <- session <- web <- proxy <- recording <- testing: no import points against the arrows,
and none makes a circle, those for type checkers included. No module uses private names of another one. Files and
classes stay small.
"""

from __future__ import annotations

import ast
import graphlib
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import aiohttp_rawws
from aiohttp_rawws import _build

PACKAGE = Path(aiohttp_rawws.__file__).parent
NAME = PACKAGE.name
LAYERS = ["errors", "wire", "extensions", "session", "web", "proxy", "recording", "testing"]
FOREIGN = {  # what only some layers may import
    "asyncio": {"session", "web", "proxy", "recording", "testing"},
    "aiohttp": {"web", "proxy", "testing"},
    "yarl": {"web", "proxy", "recording", "testing"},
    "multidict": {"web", "proxy", "recording", "testing"},
}
MODULES = sorted(PACKAGE.rglob("*.py"))


class Import(NamedTuple):
    module: str  # absolute, dotted
    names: tuple[str, ...]
    line: int

    @property
    def modules(self) -> set[str]:
        """The modules that it loads: ``from . import x`` means the module x, if there is one."""
        return {f"{self.module}.{name}" for name in self.names} & NAMES or {self.module}


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[Import]:
    """Every import of a module, those inside functions and under TYPE_CHECKING included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = dotted(path).split(".")
    if path.name != "__init__.py":
        package.pop()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, node.module] if node.module else base)
            yield Import(module, tuple(alias.name for alias in node.names), node.lineno)


NAMES = {dotted(path) for path in MODULES}


def layer(module: str) -> str | None:
    """The layer of a module of ours; None for the package itself, for what only settles or reports its build, and for
    others."""
    parts = module.split(".")
    return parts[1] if parts[0] == NAME and len(parts) > 1 and parts[1] not in ("_build", "__main__") else None


def test_every_module_has_a_layer() -> None:
    assert {layer(dotted(path)) for path in MODULES} - {None} <= set(LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_point_downwards(path: Path) -> None:
    own = layer(dotted(path))
    if own is None:
        return  # the package itself names everything
    for used in imports(path):
        for module in used.modules:
            assert module != NAME, f"line {used.line}: a layer does not import the package as a whole"
            other = layer(module)
            if other is not None:
                assert LAYERS.index(other) <= LAYERS.index(own), f"line {used.line}: {own} imports {other}"


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_foreign_imports(path: Path) -> None:
    own = layer(dotted(path))
    if own is None:
        return
    for used in imports(path):
        top = used.module.partition(".")[0]
        assert own in FOREIGN.get(top, LAYERS), f"line {used.line}: {own} imports {top}"


def test_no_circle_of_imports() -> None:
    """Imports inside functions and under TYPE_CHECKING count, too: a reader follows them like all others."""
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        used = graph.setdefault(dotted(path), set())
        for each in imports(path):
            used |= each.modules & NAMES
    list(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the circle


# ---- size ---------------------------------------------------------------------------------

MAX_LINES_OF_A_FILE = 500
MAX_LINES_OF_A_CLASS = 310


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_files_and_classes_are_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES_OF_A_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= MAX_LINES_OF_A_CLASS, node.name


# ---- compiled files -----------------------------------------------------------------------


def stale_libraries(package: Path) -> list[str]:
    """Compiled files whose module is not in _build.MODULES, for whichever Python they were compiled."""
    return [
        str(path.relative_to(package))
        for path in sorted(package.rglob("*"))
        if path.suffix in (".so", ".pyd")
        and ".".join([*path.relative_to(package).parts[:-1], path.name.partition(".")[0]]) not in _build.MODULES
    ]


def test_no_stale_library() -> None:
    """A module that was removed from the list leaves its library behind, and Python would prefer that to its source."""
    stale = stale_libraries(PACKAGE)
    assert not stale, (
        f"{', '.join(stale)}: compiled from a module that is not in _build.MODULES any more. Delete it, or build all "
        "again: `make clean`, then `make compile`."
    )


def test_a_stale_library_is_found(tmp_path: Path) -> None:
    names = ["masking.cpython-310-x86_64-linux-gnu.so", "masking.abi3.so", "masking.cp313-win_amd64.pyd", "masking.py"]
    for name in [*names, "framing.cpython-310-x86_64-linux-gnu.so", "framing.pyd", "framing.c"]:
        (tmp_path / "wire").mkdir(exist_ok=True)
        (tmp_path / "wire" / name).touch()
    (tmp_path / "masking.so").touch()  # not in wire/
    found = {Path(path).as_posix() for path in stale_libraries(tmp_path)}
    assert found == {"masking.so", "wire/framing.cpython-310-x86_64-linux-gnu.so", "wire/framing.pyd"}


# ---- what is not done ---------------------------------------------------------------------

# Endpoint is an abstract base class; a user's extension overrides transform_whole() if it has an outgoing_key.
ABSTRACT = {"aiohttp_rawws.session.endpoint", "aiohttp_rawws.extensions.base"}


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_no_hooks_that_a_subclass_must_fill_in(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and node.exc is not None and "NotImplementedError" in ast.unparse(node.exc):
            assert dotted(path) in ABSTRACT, f"line {node.lineno}"


# ---- private names ------------------------------------------------------------------------


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("_")  # __dunder__ and _sunder_ names are public


def self_attributes(tree: ast.AST) -> set[str]:
    """The private names that a piece of code gives to its own objects, modules and classes."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
            found.add(node.attr)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return {name for name in found if private(name)}


def names_of_bases(tree: ast.AST) -> set[str]:
    """The private names of our classes that a module extends."""
    found: set[str] = set()
    for node in ast.walk(tree):
        for base in node.bases if isinstance(node, ast.ClassDef) else ():
            name = ast.unparse(base).rpartition(".")[2]
            for cls in CLASSES.get(name, ()):
                if cls is not node:
                    found |= self_attributes(cls) | names_of_bases(cls)
    return found


def classes() -> dict[str, list[ast.ClassDef]]:
    found: dict[str, list[ast.ClassDef]] = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(node)
    return found


CLASSES = classes()

# The codec reads the fields of a frame without a call of Python.
FRAME = {"_head", "_kind", "_payload"}
# What an awaitable needs of a session. Endpoint lists it; the underscores keep it out of the session's public names.
ENDPOINT = {"_before_waiting", "_is_over", "_loop", "_queue", "_raise_end", "_take"}
FRIENDS = {
    "aiohttp_rawws.wire.encoder": FRAME,
    "aiohttp_rawws.wire.parser": FRAME,
    "aiohttp_rawws.session.outgoing": FRAME,
    "aiohttp_rawws.session.frame_passing": FRAME,
    "aiohttp_rawws.session.awaitables": ENDPOINT | {"_asyncio_future_blocking", "_callbacks"},  # of asyncio's futures
    "aiohttp_rawws.session.surface": {"_is_coroutine"},  # of asyncio's, before Python 3.12
}


def foreign_private_names(path: Path) -> set[str]:
    """Private attributes of objects that are not ``self`` and not of a class of this module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = self_attributes(tree) | names_of_bases(tree)
    used: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls", "super()"):
            used.add(node.attr)
    return {name for name in used if private(name)} - own


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_no_private_name_of_another_module(path: Path) -> None:
    assert foreign_private_names(path) <= FRIENDS.get(dotted(path), set())


# aiohttp: its private names may be gone in its next release.


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_no_private_import_of_aiohttp(path: Path) -> None:
    for used in imports(path):
        parts = [*used.module.split("."), *used.names]
        if parts[0] == "aiohttp":
            assert not any(map(private, parts)), f"line {used.line}: {'.'.join(parts)}"


WEB = [path for path in MODULES if layer(dotted(path)) in ("web", "proxy")]


@pytest.mark.parametrize("path", WEB, ids=dotted)
def test_no_private_attribute_of_aiohttp(path: Path) -> None:
    ours: set[str] = set()
    for module in MODULES:
        ours |= self_attributes(ast.parse(module.read_text(encoding="utf-8")))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and private(node.attr):
            assert node.attr in ours, f"line {node.lineno}: {ast.unparse(node)}"


OVERRIDDEN = {"WebSocketResource": {"_match"}}  # abstract in aiohttp's Resource: a subclass has to have it


@pytest.mark.parametrize("path", WEB, ids=dotted)
def test_no_private_name_shared_with_a_base_of_aiohttp(path: Path) -> None:
    """A subclass whose private attribute has the name of one of its base's would overwrite that."""

    def names(cls: type) -> set[str]:
        return self_attributes(ast.parse(textwrap.dedent(inspect.getsource(cls))))

    module = importlib.import_module(dotted(path))
    for cls in vars(module).values():
        if isinstance(cls, type) and cls.__module__ == module.__name__:
            for base in cls.__mro__:
                if base.__module__.startswith("aiohttp."):
                    shared = (names(cls) & names(base)) - OVERRIDDEN.get(cls.__name__, set())
                    assert not shared, f"{cls.__name__} and {base.__name__}"
