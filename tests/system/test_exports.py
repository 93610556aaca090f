"""The exports of the package: all names exist, and so do the types that the signatures of the exported ones mention."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

import aiohttp_rawws as rawws
from aiohttp_rawws import recording, testing

PACKAGE = Path(rawws.__file__).parent
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def test_all() -> None:
    assert len(set(rawws.__all__)) == len(rawws.__all__)
    for name in rawws.__all__:
        assert hasattr(rawws, name), name


def test_aliases() -> None:
    assert rawws.RawSession is rawws.WebSocketSession
    assert rawws.ManagedSession is rawws.DefaultWebSocketSession


def test_helpers() -> None:
    assert rawws.encode_header(rawws.Opcode.TEXT, 5) == b"\x81\x05"
    assert rawws.may_be_sent(1000)
    assert not rawws.may_be_sent(1006)


def definitions() -> dict[str, tuple[str, ast.stmt]]:
    """Classes, functions and aliases of types at the top of a module, with the name of the module."""
    found: dict[str, tuple[str, ast.stmt]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
                found.setdefault(node.name, (module, node))
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                found.setdefault(node.targets[0].id, (module, node))
    return found


DEFINITIONS = definitions()
ALL = sorted(name for name in rawws.__all__ if name in DEFINITIONS)


def functions(node: ast.stmt) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """A function; the public methods of a class and of the base classes that are ours."""
    if isinstance(node, FUNCTIONS):
        yield node
    elif isinstance(node, ast.ClassDef):
        for method in node.body:
            if isinstance(method, FUNCTIONS) and (method.name == "__init__" or not method.name.startswith("_")):
                yield method
        for base in node.bases:
            name = ast.unparse(base).rpartition(".")[2]
            if name in DEFINITIONS and DEFINITIONS[name][1] is not node:  # a base of aiohttp's may have the same name
                yield from functions(DEFINITIONS[name][1])


def types_in(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    args = function.args
    given = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
    annotations = [arg.annotation for arg in given if arg is not None] + [function.returns]
    names = {node.id for each in annotations if each for node in ast.walk(each) if isinstance(node, ast.Name)}
    return {name for name in names & set(DEFINITIONS) if not is_type_variable(name)}


def is_type_variable(name: str) -> bool:
    return isinstance(getattr(importlib.import_module(DEFINITIONS[name][0]), name, None), TypeVar)


# Types of public methods and attributes that are only for this package.
INNER = {"Compressor", "CompressorPool", "Connection", "Decompressor"}


@pytest.mark.parametrize("name", ALL)
def test_types_of_public_signatures_are_exported(name: str) -> None:
    check_types(name, set(rawws.__all__))


@pytest.mark.parametrize("name", sorted(name for name in testing.__all__ if name in DEFINITIONS))
def test_types_of_public_signatures_of_testing(name: str) -> None:
    check_types(name, {*rawws.__all__, *testing.__all__})


@pytest.mark.parametrize("name", sorted(set(recording.__all__) & set(DEFINITIONS)))
def test_types_of_public_signatures_of_recording(name: str) -> None:
    check_types(name, {*rawws.__all__, *recording.__all__})


def check_types(name: str, exported: set[str]) -> None:
    for function in functions(DEFINITIONS[name][1]):
        missing = types_in(function) - exported - INNER
        assert not missing, f"{name}.{function.name}(): {missing}"
