"""How a task that waits in ``receive()`` goes on when a frame has come: in the read callback if that is safe."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextvars import ContextVar
from typing import Any

import pytest

from aiohttp_rawws import Frame, WebSocketSession, memory_pair
from aiohttp_rawws.wire.codec import FrameEncoder

MASKED = FrameEncoder(masking=True)


def deliver(session: WebSocketSession, *frames: Frame) -> None:
    """Do what a transport does when bytes have come."""
    protocol: Any = session.transport.get_protocol()
    data = b"".join(map(MASKED.encode, frames))
    protocol.get_buffer(-1)[: len(data)] = data
    protocol.buffer_updated(len(data))


async def from_the_loop(session: WebSocketSession, *frames: Frame, then: Any = lambda: None) -> None:
    done = asyncio.get_running_loop().create_future()

    def callback() -> None:
        deliver(session, *frames)
        then()
        done.set_result(None)

    asyncio.get_running_loop().call_soon(callback)
    await done


@pytest.fixture
async def session() -> Any:
    server, client = memory_pair()
    yield server
    server.abort()
    client.abort()
    await server.wait_closed()
    await client.wait_closed()


async def test_the_task_is_stepped_in_the_read_callback(session: WebSocketSession) -> None:
    received: list[str] = []

    async def handler() -> None:
        async for frame in session:
            received.append(frame.text)

    task = asyncio.create_task(handler())
    await asyncio.sleep(0)
    seen: list[int] = []
    for number in range(3):
        await from_the_loop(session, Frame.text(str(number)), then=lambda: seen.append(len(received)))
    await asyncio.sleep(0)
    assert received == ["0", "1", "2"]
    assert seen == [1, 2, 3]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_inside_another_task_it_goes_on_from_the_loop(session: WebSocketSession) -> None:
    task = asyncio.create_task(session.receive())
    await asyncio.sleep(0)
    deliver(session, Frame.text("from a task"))
    assert not task.done()
    assert (await asyncio.wait_for(task, 20)).text == "from a task"


async def test_and_again_in_the_callback_after_that(session: WebSocketSession) -> None:
    async def three() -> list[str]:
        return [(await session.receive()).text for _ in range(3)]

    task = asyncio.create_task(three())
    await asyncio.sleep(0)
    await from_the_loop(session, Frame.text("1"))
    deliver(session, Frame.text("2"))
    await asyncio.sleep(0)
    await from_the_loop(session, Frame.text("3"))
    assert await asyncio.wait_for(task, 20) == ["1", "2", "3"]


async def test_it_runs_in_its_own_context(session: WebSocketSession) -> None:
    name: ContextVar[str] = ContextVar("name", default="loop")

    async def handler() -> tuple[str, str]:
        name.set("handler")
        await session.receive()
        return name.get(), asyncio.current_task().get_name()  # type: ignore[union-attr]

    task = asyncio.create_task(handler(), name="the handler's")
    await asyncio.sleep(0)
    await from_the_loop(session, Frame.text(""))
    assert await task == ("handler", "the handler's")
    assert name.get() == "loop"


async def test_a_cancelled_receive_loses_nothing(session: WebSocketSession) -> None:
    for _ in range(3):  # the future of one wait is used for the next one
        task = asyncio.create_task(session.receive())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        waiting = asyncio.create_task(session.receive())
        await asyncio.sleep(0)
        await from_the_loop(session, Frame.text("kept"))
        assert (await asyncio.wait_for(waiting, 20)).text == "kept"


async def test_cancelled_by_what_the_frame_sets_off(session: WebSocketSession) -> None:
    async def handler() -> None:
        await session.receive()
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        await session.receive()

    task = asyncio.create_task(handler())
    await asyncio.sleep(0)
    await from_the_loop(session, Frame.text("go"))
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)
    await from_the_loop(session, Frame.text("for the next"))
    assert session.receive_nowait() == Frame.text("for the next")


async def test_a_coroutine_without_a_task(session: WebSocketSession) -> None:
    """Somebody else's scheduler: it gets a future, and its callback is called with that future, from the loop."""
    outcome: list[Any] = []
    coroutine = session.receive()

    def advance(future: asyncio.Future[None] | None) -> None:
        try:
            waits_for = coroutine.send(None)
        except StopIteration as stop:
            outcome.extend((stop.value.text, future))
        else:
            waits_for._asyncio_future_blocking = False
            waits_for.add_done_callback(advance)
            outcome.append(waits_for)

    asyncio.get_running_loop().call_soon(advance, None)
    await asyncio.sleep(0)
    await from_the_loop(session, Frame.text("hello"))
    await asyncio.sleep(0)
    assert outcome[1:] == ["hello", outcome[0]]


class Nested:
    def __init__(self, session: WebSocketSession) -> None:
        self.session = session

    def __await__(self) -> Generator[Any, None, Frame]:
        return self.session.receive().__await__()


async def test_through_an_awaitable_of_ones_own(session: WebSocketSession) -> None:
    async def handler() -> str:
        return (await Nested(session)).text

    task = asyncio.create_task(handler())
    await asyncio.sleep(0)
    await from_the_loop(session, Frame.text("nested"))
    assert await asyncio.wait_for(task, 20) == "nested"
