"""A managed session has the members of a raw one, for messages instead of frames."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest

from aiohttp_rawws import (
    ChannelOverflow,
    CloseReason,
    DefaultWebSocketSession,
    Frame,
    InvalidPayload,
    bounded,
    memory_pair,
)

from ..tools.clock import is_time_of
from ..tools.waiting import eventually, settle


@pytest.fixture
async def pair() -> Any:
    raw_server, raw_client = memory_pair(incoming=bounded(4))
    server, client = DefaultWebSocketSession(raw_server), DefaultWebSocketSession(raw_client)
    server.start()
    client.start()
    yield server, client
    server.abort()
    client.abort()
    await server.wait_closed()
    await client.wait_closed()


async def test_masking_and_max_frame_size_are_the_raw_sessions() -> None:
    raw_server, raw_client = memory_pair()
    server, client = DefaultWebSocketSession(raw_server), DefaultWebSocketSession(raw_client)
    server.max_frame_size = 5
    server.masking = True
    assert (raw_server.max_frame_size, raw_server.masking) == (5, True)
    server.masking = False
    server.start()
    client.start()
    assert (server.max_frame_size, server.masking) == (5, False)
    await client.send("123456")
    assert (await client.close_reason).code == 1009
    await asyncio.gather(server.close(), client.close())


def test_a_misspelt_attribute_is_an_error() -> None:
    async def main() -> None:
        raw, peer = memory_pair()
        session = DefaultWebSocketSession(raw)
        with pytest.raises(AttributeError):
            session.max_frame_sise = 5  # type: ignore[attr-defined]
        raw.abort()
        peer.abort()
        await raw.wait_closed()
        await peer.wait_closed()

    asyncio.run(main())


async def test_incoming_and_outgoing(pair: Any) -> None:
    server, client = pair
    await client.send(Frame.text("Hel", fin=False))
    assert client.outgoing.try_send(Frame.text("lo"))
    await client.outgoing.send("second")
    await settle()
    assert len(server.incoming) == 2
    assert server.incoming.try_receive() == Frame.text("Hello")
    assert (await server.incoming.receive()).text == "second"
    assert server.incoming.try_receive() is None
    assert not server.incoming.closed and not client.outgoing.closed
    assert len(client.outgoing) == 0
    await client.close()
    assert server.incoming.closed and client.outgoing.closed
    assert [message async for message in server.incoming] == []


async def test_cork(pair: Any) -> None:
    server, client = pair
    before = client.stats.bytes_sent
    with client.cork():
        for number in range(3):
            await client.send(str(number))
        assert client.stats.bytes_sent == before
    assert [(await server.receive()).text for _ in range(3)] == ["0", "1", "2"]


class TestListen:
    async def test_messages_those_that_wait_first(self, pair: Any) -> None:
        server, client = pair
        await client.send("waits")
        await settle()
        heard: list[str] = []

        def on_message(message: Frame) -> None:
            heard.append(message.text)
            server.send_nowait(message.text.upper())

        listening = server.listen(on_message)
        assert heard == ["waits"]
        await client.send(Frame.text("in ", fin=False))
        await client.send(Frame.text("two"))
        assert [(await client.receive()).text for _ in range(2)] == ["WAITS", "IN TWO"]
        for attempt in (server.receive, server.receive):
            with pytest.raises(RuntimeError, match="has a listener"):
                await attempt()
        with pytest.raises(RuntimeError, match="has a listener"):
            server.listen(on_message)
        await client.close(1000, "bye")
        await asyncio.wait_for(listening, 20)
        assert server.close_state.clean
        assert await server.close_reason == CloseReason(1000, "bye")

    async def test_a_callback_that_raises_ends_the_session_with_1011(self, pair: Any) -> None:
        def on_message(message: Frame) -> None:
            raise LookupError("of the callback's own")

        server, client = pair
        listening = server.listen(on_message)
        await client.send("x")
        with pytest.raises(LookupError):
            await asyncio.wait_for(listening, 20)
        assert (await client.close_reason).code == 1011

    async def test_what_a_payload_causes_in_a_callback_ends_the_session_with_1007(self, pair: Any) -> None:
        server, client = pair
        listening = server.listen(lambda message: message.text)
        await client.send(b"\xff")
        with pytest.raises(InvalidPayload):
            await asyncio.wait_for(listening, 20)
        assert (await client.close_reason).code == 1007

    async def test_a_coroutine_function_is_refused(self, pair: Any) -> None:
        async def on_message(message: Frame) -> None:
            pass

        with pytest.raises(TypeError, match="plain function"):
            pair[0].listen(on_message)

    async def test_more_than_the_queue_holds(self, pair: Any) -> None:
        server, client = pair
        for number in range(20):
            await client.send(str(number))
        await settle()
        heard: list[str] = []
        server.listen(lambda message: heard.append(message.text))
        await eventually(lambda: len(heard) == 20)
        assert heard == [str(number) for number in range(20)]


@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
class TestClose:
    async def test_without_a_code(self, managed: bool) -> None:
        raw, peer = memory_pair()
        session: Any = DefaultWebSocketSession(raw) if managed else raw
        closing = asyncio.create_task(session.close(None))
        assert (await peer.receive()) == Frame.close()
        peer.abort()
        await closing
        await raw.wait_closed()
        await peer.wait_closed()

    async def test_a_message_beside_a_reason_is_refused(self, managed: bool) -> None:
        raw, peer = memory_pair()
        session: Any = DefaultWebSocketSession(raw) if managed else raw
        with pytest.raises(ValueError, match="belongs in the CloseReason"):
            await session.close(CloseReason(4000, "one"), "two")
        with pytest.raises(ValueError, match="may not be sent"):
            await session.close(1006)
        raw.abort()
        peer.abort()
        await raw.wait_closed()
        await peer.wait_closed()


@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
@pytest.mark.parametrize("fails", [False, True], ids=["returns", "raises"])
@pytest.mark.loops("clock")
async def test_async_with_is_bounded_when_the_peer_does_not_read(managed: bool, fails: bool) -> None:
    raw, peer = memory_pair(close_timeout=5)
    peer.pause_reading()
    session: Any = DefaultWebSocketSession(raw) if managed else raw

    async def use() -> None:
        async with session:
            for _ in range(3):
                session.send_nowait(bytes(100_000))
            if fails:
                raise LookupError("of the block's own")

    began = asyncio.get_running_loop().time()
    if fails:
        with pytest.raises(LookupError):
            await use()
    else:
        await use()
    assert is_time_of(5, began)
    assert raw.close_state.lost
    peer.abort()
    await peer.wait_closed()


@pytest.mark.loops("clock")
async def test_close_ends_a_session_whose_outgoing_has_overflowed() -> None:
    raw, peer = memory_pair(outgoing=bounded(1, "close"), close_timeout=5)
    peer.pause_reading()
    session = DefaultWebSocketSession(raw)
    with pytest.raises(ChannelOverflow):
        for _ in range(5):
            await session.send(bytes(100_000))
    await asyncio.wait_for(session.close(), 20)
    assert raw.close_state.lost
    peer.abort()
    await peer.wait_closed()


# ---- half-made sessions ---------------------------------------------------------------------------

HALF_MADE = """
import asyncio, inspect, traceback
import aiohttp_rawws as rawws

def outcome(name, call):
    try:
        result = call()
        if inspect.iscoroutine(result):
            result.close()
        result = "fine"
    except Exception as exc:
        result = type(exc).__name__
    print(name, result)

async def main():
    server, client = rawws.memory_pair()

    class Raw(rawws.WebSocketSession):
        def __init__(self): pass

    class Managed(rawws.DefaultWebSocketSession):
        def __init__(self): pass

    class Failed(rawws.DefaultWebSocketSession):
        def __init__(self):
            try:
                super().__init__(None)
            except TypeError:
                pass

    class Streams(rawws.RawWebSocket):
        def __init__(self):
            try:
                super().__init__(None, None, misspelt=1)
            except TypeError:
                pass

    makers = {
        "Raw": Raw, "Managed": Managed, "Failed": Failed, "Streams": Streams,
        "WebSocketSession.__new__": lambda: rawws.WebSocketSession.__new__(rawws.WebSocketSession),
        "DefaultWebSocketSession.__new__":
            lambda: rawws.DefaultWebSocketSession.__new__(rawws.DefaultWebSocketSession),
    }
    arguments = {
        "send": ("x",), "send_nowait": ("x",), "can_send_now": ("x",), "write_bytes": (b"",), "send_raw": (b"",),
        "listen": (print,), "on_end": (print,), "owns": (ValueError(),), "get_extra_info": ("x",), "extension": (1,),
    }
    for name, make in makers.items():
        cls = type(make())
        for attribute in sorted(dir(cls)):
            if attribute.startswith("_") or attribute in ("create_task", "transport"):
                continue
            half = make()
            if callable(getattr(cls, attribute, None)):
                outcome(f"{name}.{attribute}()", lambda: getattr(half, attribute)(*arguments.get(attribute, ())))
            else:
                outcome(f"{name}.{attribute}", lambda: getattr(half, attribute))
                outcome(f"{name}.{attribute} = None", lambda: setattr(half, attribute, None))
        outcome(f"repr({name})", lambda: repr(make()))
        outcome(f"str({name})", lambda: f"{make()}")
        outcome(f"receive of {name}", lambda: make().receive().send(None))
        outcome(f"send of {name}", lambda: make().send("x").send(None))
        outcome(f"broadcast to {name}", lambda: rawws.broadcast([make()], "x"))
        outcome(f"managed over {name}", lambda: rawws.DefaultWebSocketSession(make()))
        try:
            half = make()
            raise LookupError
        except LookupError as exc:
            error = exc
        outcome(f"report of {name}", lambda: traceback.TracebackException.from_exception(error, capture_locals=True))
    for call in ("Frame", "PreparedFrame"):
        class Half(getattr(rawws, call)):
            def __init__(self): pass
        for session in (server, client, rawws.DefaultWebSocketSession(server)):
            outcome(f"half a {call}", lambda: session.send_nowait(Half()))
            outcome(f"half a {call} in a broadcast", lambda: rawws.broadcast([session], Half()))
    server.abort()
    client.abort()
    await server.wait_closed()
    await client.wait_closed()
    print("over")

asyncio.run(main())
"""


def test_half_made_sessions_raise_and_do_not_crash() -> None:
    """As a misspelt option makes them, or a subclass without ``super().__init__()``, and a report that shows locals."""
    command = [sys.executable, "-X", "faulthandler", "-c", HALF_MADE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr[-3000:]
    *lines, last = done.stdout.splitlines()
    assert last == "over" and len(lines) > 400
    kinds = {line.rpartition(" ")[2] for line in lines}
    assert kinds <= {"AttributeError", "fine", "TypeError", "RuntimeError", "ValueError"}, kinds
    reprs = {line for line in lines if line.startswith(("repr(", "str("))}
    assert all(line.endswith(" AttributeError") for line in reprs)
