"""errors <- wire <- extensions <- session <- web <- testing: nothing is imported against the arrows."""

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

PACKAGE = Path(aiohttp_rawws.__file__).parent
NAME = PACKAGE.name
LAYERS = ["errors", "wire", "extensions", "session", "web", "testing"]
FOREIGN = {  # what only some layers may import
    "asyncio": {"session", "web", "testing"},
    "aiohttp": {"web", "testing"},
    "yarl": {"web", "testing"},
    "multidict": {"web", "testing"},
}
MODULES = sorted(PACKAGE.rglob("*.py"))


class Import(NamedTuple):
    module: str  # absolute, dotted
    names: tuple[str, ...]
    line: int
    at_run_time: bool

    @property
    def modules(self) -> set[str]:
        """What it loads: ``from . import x`` means the module x, if there is one."""
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
    inside: set[ast.AST] = set()  # not run when the module is imported
    for node in ast.walk(tree):
        late = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        typing = isinstance(node, ast.If) and ast.unparse(node.test).startswith("TYPE_CHECKING")
        if late or typing:
            inside.update(ast.walk(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), node.lineno, node not in inside)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, node.module] if node.module else base)
            yield Import(module, tuple(alias.name for alias in node.names), node.lineno, node not in inside)


NAMES = {dotted(path) for path in MODULES}


def layer(module: str) -> str | None:
    """The layer of a module of ours; None for the package itself, for what only settles its build, and for others."""
    parts = module.split(".")
    return parts[1] if parts[0] == NAME and len(parts) > 1 and parts[1] != "_build" else None


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


def test_no_import_cycle() -> None:
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        used = graph.setdefault(dotted(path), set())
        for each in imports(path):
            if each.at_run_time:
                used |= each.modules & NAMES
    list(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the cycle


# aiohttp: what begins with an underscore is not ours to use, and may be gone in its next release.


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


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


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_no_private_import_of_aiohttp(path: Path) -> None:
    for used in imports(path):
        parts = [*used.module.split("."), *used.names]
        if parts[0] == "aiohttp":
            assert not any(map(private, parts)), f"line {used.line}: {'.'.join(parts)}"


WEB = [path for path in MODULES if layer(dotted(path)) == "web"]


@pytest.mark.parametrize("path", WEB, ids=dotted)
def test_no_private_attribute_of_aiohttp(path: Path) -> None:
    ours: set[str] = set()
    for module in MODULES:
        ours |= self_attributes(ast.parse(module.read_text(encoding="utf-8")))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and private(node.attr):
            assert node.attr in ours, f"line {node.lineno}: {ast.unparse(node)}"


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
                    assert not names(cls) & names(base), f"{cls.__name__} and {base.__name__}"
