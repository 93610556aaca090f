"""What users of WebSocketResponse expect of a session: JSON, ``receive(timeout=)``, ``closed``, ``close(code=)``."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from aiohttp_rawws import CloseReason, DeserializeError, Frame, JSONConverter, Opcode, SessionClosed

from ..tools.clock import advance, idle
from ..tools.talking import bounded_wait, each_kind, each_managed, hang_up, talking, texts, waiting
from ..tools.waiting import settle

pytestmark = pytest.mark.loops("clock")

each_time = pytest.mark.parametrize("seconds", [5, 5.0, timedelta(seconds=5)], ids=repr)


# ---- receive(timeout=) --------------------------------------------------------------------------


@each_kind
@each_time
async def test_receive_waits_no_longer(kind: str, seconds: Any) -> None:
    async with talking(kind) as (session, _, peer):
        task = asyncio.ensure_future(session.receive(timeout=seconds))
        await advance(4.9)
        assert not task.done()
        await advance(0.2)
        with pytest.raises(asyncio.TimeoutError):
            await bounded_wait(task)
        peer.send_nowait("late")
        assert (await bounded_wait(session.receive(seconds))).text == "late"
        assert session.closed is False


@each_kind
async def test_a_frame_that_waits_or_comes_in_time(kind: str) -> None:
    async with talking(kind) as (session, _, peer):
        peer.send_nowait("waits")
        await settle()
        assert (await session.receive(timeout=1)).text == "waits"
        task = asyncio.ensure_future(session.receive(timeout=1))
        await advance(0.9)
        peer.send_nowait("in time")
        await settle()
        assert (await bounded_wait(task)).text == "in time"
        await advance(5)  # nothing of it is left to happen


@each_kind
@pytest.mark.parametrize("steps", range(6))
async def test_nothing_is_lost_at_the_moment_the_time_is_over(kind: str, steps: int) -> None:
    """A frame that comes at the same time, some steps of the loop before or after, is delivered once."""
    async with talking(kind) as (session, _, peer):
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(session.receive(timeout=1))
        await settle()

        def send_soon(steps: int) -> None:
            if steps:
                loop.call_soon(send_soon, steps - 1)
            else:
                peer.send_nowait("x")

        loop.call_at(loop.time() + 1, send_soon, steps)
        await advance(2)
        assert task.done()
        got = [] if task.exception() is not None else [task.result().text]
        peer.send_nowait("y")
        await settle()
        while (frame := session.receive_nowait()) is not None:
            got.append(frame.text)
        assert got == ["x", "y"]


@each_kind
async def test_a_cancellation_is_no_timeout(kind: str) -> None:
    async with talking(kind) as (session, _, peer):
        task = asyncio.ensure_future(session.receive(timeout=10))
        await settle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        peer.send_nowait("x")
        assert (await bounded_wait(session.receive())).text == "x"


@each_kind
async def test_the_end_comes_before_the_timeout(kind: str) -> None:
    async with talking(kind) as (session, _, peer):
        task = asyncio.ensure_future(session.receive(timeout=10))
        await settle()
        peer.abort()
        with pytest.raises(SessionClosed):
            await bounded_wait(task)


@each_kind
@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
async def test_times_that_are_none(kind: str, seconds: float) -> None:
    async with talking(kind) as (session, _, _peer):
        with pytest.raises(ValueError, match=r"^timeout must be more than 0 seconds, or None to switch it off, not "):
            await session.receive(seconds)


@each_kind
async def test_the_second_receiver_is_refused(kind: str) -> None:
    async with talking(kind) as (session, _, peer):
        task = asyncio.ensure_future(session.receive(timeout=10))
        await settle()
        with pytest.raises(RuntimeError, match="already receiving"):
            await session.receive(timeout=10)
        peer.send_nowait("x")
        assert (await bounded_wait(task)).text == "x"


# ---- JSON ---------------------------------------------------------------------------------------

VALUE = {"a": [1, 2.5, "\xfc", None]}


@each_kind
async def test_values_both_ways(kind: str) -> None:
    async with talking(kind) as (session, _, peer):
        await peer.send_json(VALUE)
        assert await bounded_wait(session.receive_json()) == VALUE
        await session.send_json(VALUE)
        await settle()
        (frame,) = waiting(peer)
        if kind != "deflate":
            assert frame == Frame.text(json.dumps(VALUE))


@each_kind
async def test_functions_of_ones_own(kind: str) -> None:
    async with talking(kind) as (session, _, peer):
        peer.send_nowait("[1]")
        given: list[str] = []
        assert await bounded_wait(session.receive_json(loads=given.append)) is None
        assert given == ["[1]"]
        await peer.send_json([1, 2], dumps=lambda value: json.dumps(value, separators=(",", ":")).encode())
        assert (await bounded_wait(session.receive())).text == "[1,2]"


@each_kind
async def test_the_option_converter_has_no_part_in_it(kind: str) -> None:
    async with talking(kind, converter=JSONConverter(lambda value: "x", lambda text: "x", binary=True)) as talk:
        await talk.peer.send_json(VALUE)
        assert await bounded_wait(talk.session.receive_json()) == VALUE


@each_kind
async def test_what_is_not_json_costs_its_frame_only(kind: str) -> None:
    async with talking(kind) as (session, _, peer):
        for payload in (Frame.text("{"), Frame.binary(b"[]"), Frame.text("\ufeff1"), Frame.text("[2]")):
            peer.send_nowait(payload)
        for code, text in ((1007, "{"), (1003, "[]"), (1007, "\ufeff1")):
            with pytest.raises(DeserializeError) as caught:
                await bounded_wait(session.receive_json())
            assert isinstance(caught.value.frame, Frame)
            assert (caught.value.close_code, caught.value.frame.text) == (code, text)
        assert await bounded_wait(session.receive_json(timeout=5)) == [2]
        with pytest.raises(asyncio.TimeoutError):
            await bounded_wait(session.receive_json(timeout=5))


async def test_a_raw_session_takes_whole_text_messages_in_one_frame() -> None:
    async with talking("raw") as (session, _, peer):
        wrong = {
            "PING": Frame.ping(b"1"),
            "TEXT": Frame.text("1", fin=False),
            "CONTINUATION": Frame.text("1"),
            "CLOSE": Frame.close(1000),
        }
        for frame in wrong.values():
            await peer.send(frame)
        for name in wrong:
            with pytest.raises(DeserializeError, match=f"^Converter doesn't support frame type {name}$"):
                await bounded_wait(session.receive_json())


async def test_a_managed_session_joins_fragments() -> None:
    async with talking("managed") as (session, _, peer):
        await peer.send(Frame.text("[1,", fin=False))
        await peer.send(Frame.text("2]"))
        assert await bounded_wait(session.receive_json()) == [1, 2]


@each_managed
async def test_compress(kind: str) -> None:
    value = "x" * 1000
    async with talking(kind) as (session, _, peer):
        sizes = []
        for compress in (False, True):
            before = session.stats.bytes_sent
            await session.send_json(value, compress=compress)
            sizes.append(session.stats.bytes_sent - before)
        assert sizes[0] > 1000
        assert (sizes[1] < 100) is (kind == "deflate")
        await settle()
        assert len(waiting(peer)) == 2


# ---- closed -------------------------------------------------------------------------------------


@each_kind
async def test_closed_by_this_side(kind: str) -> None:
    async with talking(kind) as (session, _, _peer):
        assert session.closed is False
        session.close_nowait()
        assert session.closed is True


@each_kind
async def test_closed_by_the_peer(kind: str) -> None:
    """A raw session decides itself when it answers, and can send until then."""
    async with talking(kind) as (session, _, peer):
        peer.send_nowait("before")
        peer.close_nowait()
        await settle()
        assert session.closed is False
        assert (await session.receive()).text == "before"
        if kind in ("raw", "applied"):
            await session.receive()
            assert session.closed is False
            await session.close()
        else:
            with pytest.raises(SessionClosed):
                await bounded_wait(session.receive())
        assert session.closed is True


@each_kind
async def test_closed_by_the_loss(kind: str) -> None:
    async with talking(kind) as (session, _, peer):
        await hang_up(peer)
        await settle()
        assert session.closed is False  # half a connection can still be sent to
        peer.abort()
        await idle()
        assert session.closed is True


# ---- close(code=, message=) ---------------------------------------------------------------------

FORMS: dict[str, tuple[Any, dict[str, Any], CloseReason | None]] = {
    "nothing": ((), {}, CloseReason(1000)),
    "aiohttp's": ((), {"code": 1001, "message": b"bye \xc3\xbc"}, CloseReason(1001, "bye \xfc")),
    "code alone": ((), {"code": 3000}, CloseReason(3000)),
    "message alone": ((), {"message": b"bye"}, CloseReason(1000, "bye")),
    "as arguments": ((1001, "bye"), {}, CloseReason(1001, "bye")),
    "reason as a keyword": ((), {"reason": 1001, "message": "bye"}, CloseReason(1001, "bye")),
    "a reason": ((CloseReason(1001, "bye"),), {}, CloseReason(1001, "bye")),
    "no code": ((None,), {}, None),
}


@each_kind
@pytest.mark.parametrize("nowait", [False, True], ids=["close", "close_nowait"])
@pytest.mark.parametrize("form", FORMS)
async def test_forms_of_close(kind: str, nowait: bool, form: str) -> None:
    args, keywords, reason = FORMS[form]
    async with talking(kind) as (session, raw, peer):
        if nowait:
            session.close_nowait(*args, **keywords)
        else:
            closing = asyncio.ensure_future(session.close(*args, **keywords))
        await settle()
        closes = [frame for frame in waiting(peer) if frame.opcode is Opcode.CLOSE]
        assert [frame.close_reason for frame in closes] == [reason]
        raw.abort()
        if not nowait:
            await bounded_wait(closing)


WRONG: list[tuple[type[Exception], Any, dict[str, Any]]] = [
    (TypeError, (1000,), {"code": 1000}),
    (TypeError, (CloseReason(1000),), {"code": 1000}),
    (TypeError, (None,), {"code": 1000}),
    (ValueError, (CloseReason(1000, "bye"),), {"message": "bye"}),
    (ValueError, (), {"message": b"\xff"}),
    (ValueError, (), {"code": 1006}),
    (ValueError, (), {"message": "x" * 124}),
    (ValueError, (None,), {"message": "x"}),
]


@each_kind
@pytest.mark.parametrize(("error", "args", "keywords"), WRONG, ids=repr)
async def test_wrong_forms_of_close(kind: str, error: type[Exception], args: Any, keywords: dict[str, Any]) -> None:
    async with talking(kind) as (session, _, peer):
        with pytest.raises(error):
            await session.close(*args, **keywords)
        with pytest.raises(error):
            session.close_nowait(*args, **keywords)
        peer.send_nowait("goes on")
        assert texts([await bounded_wait(session.receive())]) == ["goes on"]
        assert session.closed is False
