"""The log of a handler that used a name of another library says what it is called here."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest

from aiohttp_rawws import DefaultWebSocketSession, Frame, WebSocketServerSession, WebSocketSession
from aiohttp_rawws.session.attribute_names import OF_FRAMES, OF_SESSIONS

from ..tools.clock import idle
from ..tools.talking import bounded_wait, raw_and_managed, run, talking
from ..tools.waiting import settle

pytestmark = pytest.mark.loops("clock")

SESSIONS = [
    ("both", "send_str", "send(text)"),
    ("both", "recv", "receive()"),
    ("both", "close_code", "close_state.code"),
    ("both", "headers", "request.headers"),
    ("raw", "ping", "send(Frame.ping(payload)), or ping() of a managed session"),
    ("raw", "ping_interval", "ping_interval of a managed session"),
    ("managed", "send_raw", "raw.send_raw"),
]
FRAMES = [
    ("data", "payload, or text"),
    ("type", "opcode"),
    ("split", "text"),
    ("decode", "payload"),
]


async def logged(kind: str, handle: Any, caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    """The one record of a handler that fails."""
    async with talking(kind) as (session, _, peer):
        peer.send_nowait("x")
        task = run(session, handle)
        await settle()
        peer.abort()
        await bounded_wait(task)
        await idle()
    (record,) = caplog.records
    assert record.exc_info is not None
    return record


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [
        (kind, name, text)
        for kinds, name, text in SESSIONS
        for kind in (["raw", "managed"] if kinds == "both" else [kinds])
    ],
)
async def test_of_a_session(kind: str, name: str, text: str, caplog: pytest.LogCaptureFixture) -> None:
    async def handle(session: Any) -> None:
        getattr(session, name)

    record = await logged(kind, handle, caplog)
    assert record.getMessage().startswith("Error in the handler of <")
    assert record.getMessage().endswith(f">. It used {name!r}, did you mean {text}?")


@raw_and_managed
@pytest.mark.parametrize(("name", "text"), FRAMES)
async def test_of_a_frame(kind: str, name: str, text: str, caplog: pytest.LogCaptureFixture) -> None:
    async def handle(session: Any) -> None:
        getattr(await session.receive(), name)

    record = await logged(kind, handle, caplog)
    assert record.getMessage().endswith(f"did you mean {text}?")


async def other_name(session: Any) -> None:
    session.colour  # noqa: B018


async def other_object(session: Any) -> None:
    "text".send_str  # type: ignore[attr-defined]  # noqa: B018


async def without_an_object(session: Any) -> None:
    raise AttributeError("send_str")


@raw_and_managed
@pytest.mark.parametrize("handle", [other_name, other_object, without_an_object], ids=lambda handle: handle.__name__)
async def test_nothing_is_known_of_others(kind: str, handle: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert (await logged(kind, handle, caplog)).getMessage().endswith(">")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are of Python 3.11 or newer")
@raw_and_managed
async def test_in_a_group(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    async def handle(session: Any) -> None:
        try:
            session.send_str  # noqa: B018
        except AttributeError as exc:
            raise ExceptionGroup("of tasks", [exc]) from None  # type: ignore[name-defined]  # noqa: F821

    assert (await logged(kind, handle, caplog)).getMessage().endswith("did you mean send(text)?")


def test_the_names_are_not_there() -> None:
    for name in OF_SESSIONS:
        in_raw, in_managed = (hasattr(cls, name) for cls in (WebSocketServerSession, DefaultWebSocketSession))
        assert not (in_raw and in_managed), name
    assert not any(hasattr(Frame, name) for name in OF_FRAMES)


def test_what_is_suggested_is_there() -> None:
    for text in OF_SESSIONS.values():
        name = text.removeprefix("(await ").partition("(")[0].partition(".")[0].partition(",")[0]
        if name not in ("nothing", "async for", "request", "protocol"):
            assert hasattr(WebSocketSession, name) or hasattr(DefaultWebSocketSession, name), text
