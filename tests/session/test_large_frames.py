"""Large frames on their way out: in one write with their header, unharmed by what is sent behind them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aiohttp_rawws import UNLIMITED, ConnectionLost, Frame, WebSocketSession, bounded
from aiohttp_rawws.session.transports import can_gather

from ..tools.pairs import TRANSPORTS, connected, transports
from ..tools.talking import bounded_wait, end

UNJOINED, UNJOINED_ALONE = 32 * 1024, 256 * 1024  # of outgoing.py, where they are C constants
SIZES = (UNJOINED - 1, UNJOINED, 65536, UNJOINED_ALONE - 1, UNJOINED_ALONE, 2**20, 5 * 2**20)

each_transport = pytest.mark.parametrize("transport", TRANSPORTS)


def filled(size: int, number: int) -> bytes:
    return (number.to_bytes(4, "big") * (size // 4 + 1))[:size]


@each_transport
@pytest.mark.parametrize("masking", [False, True], ids=["plain", "masked"])
async def test_frames_of_all_sizes_arrive_in_order(transport: str, masking: bool) -> None:
    """The peer reads late: writes are cut, and frames wait."""
    frames = [
        frame
        for number, size in enumerate(SIZES * 2)
        for frame in (Frame.binary(filled(size, number)), Frame.ping(b"%d" % number), Frame.text(str(number)))
    ]
    sizes: dict[str, Any] = {"max_frame_size": None, "outgoing": UNLIMITED, "masking": masking}
    async with connected(
        transport, client_options={"max_frame_size": None, "strict": False, "incoming": bounded(4)}, **sizes
    ) as (server, client):
        client.pause_reading()
        for frame in frames:
            server.send_nowait(frame)
        await asyncio.sleep(0)
        client.resume_reading()
        pings: list[Any] = []
        data: list[Any] = []
        for _ in frames:
            frame = await bounded_wait(client.receive())
            (pings if frame.opcode == 9 else data).append((frame.opcode, frame.payload))
        assert pings == [(frame.opcode, frame.payload) for frame in frames if frame.opcode == 9]
        assert data == [(frame.opcode, frame.payload) for frame in frames if frame.opcode != 9]


@each_transport
async def test_a_sender_waits_for_a_peer_that_does_not_read(transport: str) -> None:
    """``writelines()`` of some versions of asyncio does not pause the writer."""
    async with connected(
        transport, client_options={"max_frame_size": None}, outgoing=bounded(2), max_frame_size=None
    ) as (server, client):
        client.pause_reading()
        sent = 0
        with pytest.raises(asyncio.TimeoutError):
            while sent < 200:
                await asyncio.wait_for(server.send(filled(2**20, sent)), 1.0)
                sent += 1
        assert sent < 100
        client.resume_reading()
        for number in range(sent):
            assert (await bounded_wait(client.receive())).payload == filled(2**20, number)


async def test_large_frames_to_a_peer_that_has_reset() -> None:
    server_end, client_end = await transports(tls=False)
    server, client = WebSocketSession(server_end, server=True), WebSocketSession(client_end, server=False)
    server.start()
    client.start()
    client.abort(reset=True)
    with pytest.raises(ConnectionLost):
        for number in range(100):
            await bounded_wait(server.send(filled(2**20, number)))
    await end(server, client)


class Counting:
    """A wrapper as users write them: it has ``write()``, and passes everything else on."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.written = 0

    def write(self, data: Any) -> None:
        self.written += len(data)
        self.inner.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


async def test_a_wrapper_sees_all_that_is_written() -> None:
    server_end, client_end = await transports(tls=False)
    wrapped: Any = Counting(server_end)
    assert not can_gather(wrapped)
    server, client = WebSocketSession(wrapped, server=True), WebSocketSession(client_end, server=False)
    server.start()
    client.start()
    await server.send(filled(65536, 1))
    assert (await bounded_wait(client.receive())).payload == filled(65536, 1)
    assert wrapped.written == 65536 + 10
    await end(server, client)


@pytest.mark.loops("uvloop")
async def test_uvloop_writes_both_at_once() -> None:
    server_end, client_end = await transports(tls=False)
    assert can_gather(server_end)
    client_end.abort()
    server_end.abort()
    await asyncio.sleep(0.05)
