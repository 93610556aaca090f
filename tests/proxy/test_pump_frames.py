"""``pump()`` with ``on_frame``: what the callback may return, and what becomes of it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from aiohttp_rawws import Frame, FrameChunk, Opcode, PreparedFrame, WebSocketSession

from ..tools.peers import BINARY, CLOSE, PING, TEXT, close_frame, frame
from ..tools.pumped import from_server, pumped, read_frame, unpumped
from ..tools.waiting import eventually

FIN = 0x80
CHUNKS = {"frame_streaming_threshold": 1000, "max_frame_size": None}


async def test_the_callback_sees_every_frame_and_where_it_came_from() -> None:
    seen: list[tuple[Any, WebSocketSession]] = []

    def on_frame(item: Frame | FrameChunk, source: WebSocketSession) -> Frame | FrameChunk:
        seen.append((item, source))
        return item

    async with pumped(on_frame=on_frame) as on:
        await on.client.send(frame(TEXT, b"up"), frame(PING, b"p"))
        await on.server.send(from_server(BINARY, b"down"))
        await read_frame(on.server)
        await read_frame(on.server)
        await read_frame(on.client)
        assert (Frame.text("up"), on.a) in seen and (Frame.ping(b"p"), on.a) in seen
        assert (Frame.binary(b"down"), on.b) in seen


async def test_drop_and_replace() -> None:
    def on_frame(item: Any, source: object) -> Any:
        if item.opcode is Opcode.PING:
            return None
        if item.opcode is Opcode.TEXT:
            return item.replace(payload=b"***")
        if item.payload == b"three":
            return [Frame.text("one"), item, Frame.ping(b"of ours")]
        return iter(())

    async with pumped(on_frame=on_frame) as on:
        await on.client.send(frame(PING, b"p"), frame(TEXT, b"secret"), frame(BINARY, b"gone"), frame(BINARY, b"three"))
        for expected in ((TEXT, b"***"), (TEXT, b"one"), (BINARY, b"three"), (PING, b"of ours")):
            assert await read_frame(on.server) == (FIN | expected[0], expected[1])
        assert on.a.stats.frames_received == 4


async def test_an_awaitable_holds_its_direction_only() -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def later(item: Any) -> Any:
        await gate
        return item

    def on_frame(item: Any, source: object) -> Any:
        return later(item) if item.payload == b"wait" else item

    async with pumped(on_frame=on_frame) as on:
        await on.client.send(frame(TEXT, b"before"), frame(TEXT, b"wait"), frame(PING, b"behind"), close_frame())
        assert await read_frame(on.server) == (FIN | TEXT, b"before")
        await on.server.send(from_server(TEXT, b"other"))
        assert await read_frame(on.client) == (FIN | TEXT, b"other")
        gate.set_result(None)
        for expected in ((TEXT, b"wait"), (PING, b"behind"), (CLOSE, b"\x03\xe8")):
            assert await read_frame(on.server) == (FIN | expected[0], expected[1])


async def test_every_frame_may_be_awaited() -> None:
    async def on_frame(item: Any, source: object) -> Any:
        await asyncio.sleep(0)
        return [item]

    async with pumped(on_frame=on_frame) as on:
        await on.client.send(*(frame(TEXT, b"%d" % number) for number in range(100)), close_frame())
        on.client.writer.write_eof()
        for number in range(100):
            assert await read_frame(on.server) == (FIN | TEXT, b"%d" % number)
        assert (await read_frame(on.server))[0] == FIN | CLOSE
        assert await on.server.read_to_end() == b""


async def test_a_held_direction_stops_its_sender() -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def on_frame(item: Any, source: object) -> Any:
        await gate
        return item

    async with pumped(on_frame=on_frame) as on:
        sending = asyncio.create_task(on.client.send(frame(BINARY, b"x" * 60_000) * 1000))
        await asyncio.sleep(0.5)
        assert on.a.stats.bytes_received <= 3 * 256 * 1024
        gate.set_result(None)
        for _ in range(1000):
            await on.server.read(60_008)
        await sending


@pytest.mark.parametrize("size", [0, 20_000])
async def test_a_callback_that_is_slower_than_its_peer_stops_it(size: int) -> None:
    """One frame after the other waits, while more arrive: they may not add up. Small ones take memory, too."""
    passes = asyncio.Semaphore(0)

    async def on_frame(item: Any, source: object) -> Any:
        await passes.acquire()
        return item

    data = frame(BINARY, b"x" * size)
    count = 25_000 if not size else 1000
    async with pumped(on_frame=on_frame) as on:
        sending = asyncio.create_task(on.client.send(data * count))
        for number in range(30):
            passes.release()
            await read_frame(on.server)
            waiting = on.a.stats.frames_received - number
            assert waiting * (size + 100) <= 3 * 256 * 1024 + 256 * 1024 // len(data) * 128
        await asyncio.sleep(0.1)
        for _ in range(count):
            passes.release()
        for _ in range(count - 30):
            await read_frame(on.server)
        await sending
        assert on.a.stats.frames_received == count


async def test_g43_a_loss_ends_a_hold() -> None:
    cancelled: list[bool] = []

    async def on_frame(item: Any, source: object) -> Any:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async with pumped(on_frame=on_frame) as on:
        await on.client.send(frame(TEXT, b"x"))
        await eventually(lambda: on.a.stats.frames_received == 1)
        on.client.reset()
        await on.report()
        assert cancelled == [True]


async def test_a_loss_of_the_other_side_ends_a_hold() -> None:
    async with pumped(on_frame=lambda item, source: asyncio.sleep(1000)) as on:
        await on.client.send(frame(TEXT, b"x"))
        await eventually(lambda: on.a.stats.frames_received == 1)
        on.server.reset()
        await on.report()


async def test_cancelling_ends_a_hold() -> None:
    async with pumped(on_frame=lambda item, source: asyncio.sleep(1000), a={"close_timeout": 1}) as on:
        await on.client.send(frame(TEXT, b"x"))
        await eventually(lambda: on.a.stats.frames_received == 1)
        assert on.task is not None
        on.task.cancel()
        await on.client.close()
        await on.server.close()
        with pytest.raises(asyncio.CancelledError):
            await on.report()


class CallbackError(Exception):
    pass


def raises(item: Any, source: object) -> Any:
    raise CallbackError


async def raises_later(item: Any, source: object) -> Any:
    await asyncio.sleep(0)
    raise CallbackError


@pytest.mark.parametrize("on_frame", [raises, raises_later])
async def test_an_exception_closes_both_sides_with_1011_and_is_raised(on_frame: Any) -> None:
    async with pumped(on_frame=on_frame) as on:
        await on.client.send(frame(TEXT, b"x"), frame(TEXT, b"y"))
        assert await read_frame(on.client) == (FIN | CLOSE, b"\x03\xf3")
        assert await read_frame(on.server) == (FIN | CLOSE, b"\x03\xf3")
        await on.client.send(close_frame(1011))
        await on.server.send(from_server(CLOSE, b"\x03\xf3"))
        assert await on.client.read_to_end() == b""
        await on.client.close()
        await on.server.close()
        with pytest.raises(CallbackError):
            await on.report()


class Stop(BaseException):
    """No Exception, like KeyboardInterrupt, but asyncio does not stop for it."""


async def cancels_itself(item: Any, source: object) -> Any:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1000)


def is_cancelled(item: Any, source: object) -> Any:
    raise asyncio.CancelledError


def stops(item: Any, source: object) -> Any:
    yield item
    raise Stop


async def stops_later(item: Any, source: object) -> Any:
    raise Stop


@pytest.mark.parametrize(
    ("on_frame", "error"),
    [(cancels_itself, RuntimeError), (is_cancelled, RuntimeError), (stops, Stop), (stops_later, Stop)],
)
async def test_no_frame_is_lost_silently_whatever_the_callback_raises(on_frame: Any, error: Any) -> None:
    """A callback that was cancelled has failed: the pump was not cancelled, and a frame is missing."""
    async with pumped(on_frame=on_frame) as on:
        await on.client.send(frame(TEXT, b"x"))
        if on_frame is stops:
            assert await read_frame(on.server) == (FIN | TEXT, b"x")
        assert await read_frame(on.client) == (FIN | CLOSE, b"\x03\xf3")
        assert await read_frame(on.server) == (FIN | CLOSE, b"\x03\xf3")
        await on.client.close()
        await on.server.close()
        with pytest.raises(error, match="on_frame was cancelled" if error is RuntimeError else None):
            await on.report()


@pytest.mark.parametrize("later", [False, True])
def test_a_callback_may_stop_the_loop(later: bool) -> None:
    """As everywhere in asyncio. Both peers are closed first, and nothing is raised a second time."""

    async def interrupted(item: Any, source: object) -> Any:
        raise KeyboardInterrupt

    def interrupts(item: Any, source: object) -> Any:
        raise KeyboardInterrupt

    async def main() -> None:
        short = {"close_timeout": 0.2}
        async with pumped(on_frame=interrupted if later else interrupts, a=short, b=short) as on:
            try:
                on.client.writer.write(frame(TEXT, b"x"))
                await asyncio.sleep(20)
            finally:
                seen.append(await read_frame(on.client))

    seen: list[tuple[int, bytes]] = []
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert seen[0][0] == FIN | CLOSE


async def test_an_exception_inside_of_a_frame_ends_the_other_side_at_once() -> None:
    """Its rest will not come, so it can take no Close, and the callback is not called again."""
    calls: list[int] = []

    def on_frame(item: Any, source: object) -> Any:
        calls.append(item.offset)
        if len(calls) == 2:
            raise CallbackError
        return item

    async with pumped(on_frame=on_frame, a=CHUNKS) as on:
        data = frame(BINARY, b"x" * 500_000)
        await on.client.send(data[:5000])
        await on.server.read(5000)
        await on.client.send(data[5000:])
        assert await on.server.read_to_end() == b""
        assert await read_frame(on.client) == (FIN | CLOSE, b"\x03\xf3")
        await on.server.close()
        await on.client.close()
        with pytest.raises(CallbackError):
            await on.report()
    assert len(calls) == 2


@pytest.mark.parametrize("result", ["text", b"bytes", 5, [Frame.text("a"), "b"], PreparedFrame(Frame.text("a"))])
async def test_a_result_of_another_type_is_a_type_error(result: Any) -> None:
    async with pumped(on_frame=lambda item, source: result) as on:
        await on.client.send(frame(TEXT, b"x"))
        await on.client.close()
        await on.server.close()
        with pytest.raises(TypeError, match="on_frame must return"):
            await on.report()


# ---- chunks -------------------------------------------------------------------------------


@pytest.mark.parametrize("masked_to", ["server", "client"])
async def test_g32_a_large_frame_passes_in_chunks(masked_to: str) -> None:
    sizes: list[int] = []

    def on_frame(item: Any, source: object) -> Any:
        sizes.append(len(item.payload))
        return item

    payload = bytes(range(256)) * 20_000
    async with pumped(on_frame=on_frame, a=CHUNKS, b=CHUNKS) as on:
        if masked_to == "server":
            await on.client.send(frame(BINARY, payload), frame(TEXT, b"behind"))
            reader = on.server
        else:
            await on.server.send(from_server(BINARY, payload), from_server(TEXT, b"behind"))
            reader = on.client
        assert await read_frame(reader) == (FIN | BINARY, payload)
        assert await read_frame(reader) == (FIN | TEXT, b"behind")
        assert len(sizes) > 2 and max(sizes) <= 256 * 1024
        assert on.a.stats.frames_sent + on.b.stats.frames_sent == 2


async def test_the_first_chunk_is_out_before_the_frame_is_in() -> None:
    data = frame(BINARY, b"x" * 100_000)
    async with pumped(on_frame=lambda item, source: item, a=CHUNKS) as on:
        await on.client.send(data[:5000])
        assert len(await on.server.read(5000)) == 5000
        await on.client.send(data[5000:])
        await on.server.read(len(data) - 5000)


async def test_dropping_all_chunks_drops_the_frame() -> None:
    async with pumped(on_frame=lambda item, source: None if isinstance(item, FrameChunk) else item, a=CHUNKS) as on:
        await on.client.send(frame(BINARY, b"x" * 500_000))
        await on.client.send(frame(TEXT, b"behind"))
        assert await read_frame(on.server) == (FIN | TEXT, b"behind")


@pytest.mark.parametrize("which", ["first dropped", "second dropped", "frame inside", "longer", "shorter"])
async def test_chunks_that_make_no_frame_are_refused(which: str) -> None:
    def on_frame(item: Any, source: object) -> Any:
        if not isinstance(item, FrameChunk):
            return item
        if which == "first dropped":
            return item if item.offset else None
        if which == "frame inside":
            return [item, Frame.ping(b"")]
        if which == "second dropped":
            return item if not item.offset or item.last else None
        payload = item.payload + b"x" if which == "longer" else item.payload[1:]
        return FrameChunk(item.header, payload, item.offset, item.last)

    async with pumped(on_frame=on_frame, a=CHUNKS) as on:
        await on.client.send(frame(BINARY, b"x" * 2**20))
        await on.client.close()
        await on.server.read_to_end()  # closed before, it would end with a reset, which may come first
        await on.server.close()
        with pytest.raises(ValueError, match="on_frame returned a Frame"):
            await on.report()


# ---- the end ------------------------------------------------------------------------------


async def test_a_dropped_close_is_not_sent() -> None:
    async with pumped(on_frame=lambda item, source: None if item.opcode is Opcode.CLOSE else item) as on:
        await on.client.send(frame(TEXT, b"x"), close_frame())
        on.client.writer.write_eof()
        assert await read_frame(on.server) == (FIN | TEXT, b"x")
        assert await on.server.read_to_end() == b""
        await on.server.close()
        report = await on.report()
    assert report.a.received is not None and report.b.sent is None


async def test_a_close_of_the_callback_ends_a_direction() -> None:
    async with pumped(on_frame=lambda item, source: [item, Frame.close(4000)]) as on:
        await on.client.send(frame(TEXT, b"x"), frame(TEXT, b"y"))
        assert await read_frame(on.server) == (FIN | TEXT, b"x")
        assert await read_frame(on.server) == (FIN | CLOSE, b"\x0f\xa0")
        await on.server.close()
        assert await on.client.read_to_end() == b""


async def test_nothing_is_left_when_it_has_ended() -> None:
    class Callback:
        def __call__(self, item: Any, source: object) -> Any:
            return item

    callback = Callback()
    left = weakref.ref(callback)
    async with unpumped() as on:
        on.begin(on_frame=callback)
        await on.client.send(frame(TEXT, b"x"))
        await read_frame(on.server)
        await on.client.close()
        await on.server.close()
        await on.report()
        on.task = None
        del callback
        gc.collect()
        assert left() is None
