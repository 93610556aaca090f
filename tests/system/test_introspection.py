"""What ``inspect``, ``help()`` and tools for documentation find out about the classes, whichever build runs."""

from __future__ import annotations

import copy
import inspect
import pickle
import pydoc
from pathlib import Path
from typing import Any, is_typeddict

import pytest

import aiohttp_rawws as rawws
from aiohttp_rawws import Frame, recording, testing

from ..tools.twins import BUILDS, load

CLASSES = [
    value
    for module in (rawws, recording, testing)
    for name in module.__all__
    if inspect.isclass(value := vars(module)[name])
]
COMPILED = ["wire.frames.Frame", "wire.frames.PreparedFrame", "session.raw.WebSocketSession",
            "session.managed.DefaultWebSocketSession", "session.surface.Listening", "session.surface.Cork"]  # fmt: skip


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if not is_typeddict(cls)], ids=lambda cls: cls.__name__)
def test_every_class_has_a_signature(cls: type) -> None:
    assert isinstance(inspect.signature(cls), inspect.Signature)


@pytest.mark.parametrize("name", COMPILED)
def test_both_builds_have_the_same_signatures(name: str) -> None:
    module, _, cls = name.rpartition(".")
    signatures = [inspect.signature(getattr(load(build, module), cls)) for build in BUILDS]
    shapes = [
        [(each.name, each.kind, each.annotation, each.default is each.empty) for each in signature.parameters.values()]
        for signature in signatures
    ]
    assert shapes.count(shapes[0]) == len(BUILDS)


def test_a_signature() -> None:
    opcode, payload, *others = inspect.signature(Frame).parameters.values()
    assert (opcode.name, opcode.default, opcode.annotation) == ("opcode", opcode.empty, "int")
    assert (payload.name, payload.default, payload.annotation) == ("payload", b"", "Buffer")
    assert {each.kind for each in others} == {payload.KEYWORD_ONLY}
    assert [each.name for each in others] == ["fin", "rsv1", "rsv2", "rsv3", "kind"]


def test_a_subclass_has_its_own() -> None:
    class Own(rawws.WebSocketSession):
        def __init__(self, number: int) -> None:
            """It takes something else."""

    class Same(rawws.PreparedFrame):
        """It takes the same."""

    assert list(inspect.signature(Own).parameters) == ["number"]
    assert list(inspect.signature(Same).parameters) == ["frame"]
    assert list(inspect.signature(rawws.RawWebSocket).parameters)[:2] == ["reader", "writer"]


def test_the_signature_is_that_of_the_class() -> None:
    assert not hasattr(Frame.text("x"), "__signature__")


def test_without_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: Path, **how: Any) -> str:
        raise FileNotFoundError

    compiled = not inspect.isfunction(Frame.__init__)
    monkeypatch.setattr(Path, "read_text", missing)
    if compiled:
        with pytest.raises(ValueError, match="no signature"):
            inspect.signature(Frame)
    else:
        inspect.signature(Frame)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_help_shows_nothing_of_cython(cls: type) -> None:
    text = pydoc.plain(pydoc.render_doc(cls))
    assert "_cython__" not in text  # __pyx_vtable__ stays: C needs it


def test_help_shows_the_parameters() -> None:
    text = pydoc.plain(pydoc.render_doc(Frame))
    assert "opcode: 'int'" in text
    assert "payload: 'Buffer' = b''" in text


@pytest.mark.parametrize("build", BUILDS)
def test_errors_name_the_public_constructor(build: str) -> None:
    with pytest.raises(TypeError, match=r"^text\(\) takes "):
        load(build, "wire.frames").Frame.text("x", True)


# ---- copies -------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_prepared_frames_can_be_pickled(protocol: int) -> None:
    prepared = rawws.PreparedFrame(Frame.text("x", rsv1=True))
    for again in (pickle.loads(pickle.dumps(prepared, protocol)), copy.copy(prepared), copy.deepcopy(prepared)):
        assert (again.frame, again.wire) == (prepared.frame, prepared.wire)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
async def test_sessions_cannot_be_pickled(protocol: int) -> None:
    pair = testing.managed_server_pair()
    for session in (*pair, pair.server.raw):
        with pytest.raises(TypeError, match=f"^cannot pickle '{type(session).__name__}' object$"):
            pickle.dumps(session, protocol)
        with pytest.raises(TypeError, match="cannot pickle"):
            copy.copy(session)
    for session in pair:
        session.abort()
