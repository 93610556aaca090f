"""The signatures of compiled classes, for ``inspect.signature()``, ``help()`` and documentation tools."""

from __future__ import annotations
import __future__

import ast
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


class ConstructorSignature:
    """The value of ``__signature__`` of a class and its subclasses: the parameters of ``__init__()``.

    Python does not know them for a compiled class. They are read from the source beside it when somebody asks.
    """

    def __get__(self, instance: object, owner: type) -> inspect.Signature:
        if instance is not None:
            raise AttributeError("__signature__")
        definer = next(cls for cls in owner.__mro__ if "__init__" in vars(cls))
        init = vars(definer)["__init__"]
        signature = inspect.signature(init if inspect.isfunction(init) else _init_in_source(definer))
        return signature.replace(parameters=list(signature.parameters.values())[1:])  # without self


def _init_in_source(cls: type) -> Callable[..., None]:
    """Return a function with the parameters of the ``__init__()`` of ``cls``, made from its source.

    Raises:
        AttributeError: There is no source, as in a frozen application.
    """
    module = sys.modules[cls.__module__]
    source = Path(str(module.__file__)).with_name(module.__name__.rpartition(".")[2] + ".py")
    try:
        tree = ast.parse(source.read_text(encoding="utf-8"))
    except OSError:
        raise AttributeError("__signature__") from None
    (body,) = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == cls.__name__]
    (init,) = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    init.body = [ast.Expr(ast.Constant(...))]
    only = ast.fix_missing_locations(ast.Module([init], []))
    namespace: dict[str, Any] = dict(vars(module))  # where the defaults are looked up
    exec(compile(only, str(source), "exec", __future__.annotations.compiler_flag, dont_inherit=True), namespace)
    function: Callable[..., None] = namespace["__init__"]
    return function
