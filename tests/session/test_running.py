"""How a handler's end becomes the session's: the log, the Close, and what is left."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from aiohttp_rawws import (
    ChannelOverflow,
    Frame,
    InvalidPayload,
    JSONConverter,
    Opcode,
    SessionClosed,
    bounded,
    broadcast,
    memory_pair,
)
from aiohttp_rawws.session.running import run_managed, run_session

from ..tools.clock import advance, idle
from ..tools.newer import BaseExceptionGroup, TaskGroup, needs_groups
from ..tools.talking import bounded_wait, each_kind, each_managed, fill, hang_up, over, run, talking, texts, waiting
from ..tools.waiting import settle

pytestmark = pytest.mark.loops("clock")


def group(*errors: BaseException) -> BaseException:
    raised: BaseException = BaseExceptionGroup("of tasks", list(errors))
    return raised


def codes(frames: list[Frame]) -> list[int | None]:
    closes = [frame for frame in frames if frame.opcode is Opcode.CLOSE]
    return [None if close.close_reason is None else close.close_reason.code for close in closes]


def errors_of(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


# ---- the session's own end, in groups -----------------------------------------------------------


async def end_of(session: Any) -> SessionClosed:
    try:
        while True:
            await session.receive()
    except SessionClosed as exc:
        return exc


def alone(own: BaseException, other: BaseException) -> BaseException:
    return group(own)


def several(own: BaseException, other: BaseException) -> BaseException:
    return group(own, own)


def nested(own: BaseException, other: BaseException) -> BaseException:
    return group(own, group(group(own), own))


def with_another(own: BaseException, other: BaseException) -> BaseException:
    return group(own, other)


def with_another_inside(own: BaseException, other: BaseException) -> BaseException:
    return group(own, group(own, group(other)))


GROUPS = {alone: True, several: True, nested: True, with_another: False, with_another_inside: False}


@needs_groups
@each_kind
@pytest.mark.parametrize("make", GROUPS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("other", [LookupError("a mistake"), SessionClosed("of another session")], ids=["error", "end"])
async def test_groups(
    kind: str, make: Callable[..., BaseException], other: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """A group that holds nothing but the session's own end counts as that; any other one is an error."""

    async def handle(session: Any) -> None:
        raise make(await end_of(session), other)

    async with talking(kind, on_error="close-1011") as talk:
        task = run(talk.session, handle)
        await settle()
        talk.peer.send_nowait("x")
        await hang_up(talk.peer)
        await bounded_wait(task)
        found = codes(waiting(talk.peer))
        if GROUPS[make]:
            assert not errors_of(caplog)
            assert found == ([1000] if kind in ("managed", "deflate") else [])
        else:
            assert len(errors_of(caplog)) == 1
            assert found == [1011]


@needs_groups
@each_kind
async def test_a_task_group_of_a_reader_and_a_writer(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    async def read(session: Any) -> None:
        while True:
            await session.receive()

    async def write(session: Any) -> None:
        while True:
            await session.send("tick")
            await asyncio.sleep(0.1)

    async def handle(session: Any) -> None:
        async with TaskGroup() as tasks:
            tasks.create_task(read(session))
            tasks.create_task(write(session))

    for end in ("close", "loss", "eof", "violation"):
        async with talking(kind) as talk:
            task = run(talk.session, handle)
            await settle()
            if end == "close":
                talk.peer.close_nowait()
            elif end == "loss":
                talk.peer.abort()
            elif end == "eof":
                await hang_up(talk.peer)
            else:
                talk.peer.write_bytes(b"\x83\x80abcd")
            await bounded_wait(task)
    assert not errors_of(caplog)


@needs_groups
@each_kind
async def test_an_overflow_in_a_group_is_one(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    reached: list[str] = []

    async def handle(session: Any) -> None:
        fill(session)
        try:
            session.send_nowait("one too many")
        except ChannelOverflow as exc:
            raise group(exc) from None

    async with talking(kind, outgoing=bounded(2), close_timeout=2) as talk:
        talk.peer.pause_reading()
        await bounded_wait(run(talk.session, handle, on_limit=reached.append))
    assert reached == ["outgoing"]
    assert not errors_of(caplog)


# ---- what a payload causes ----------------------------------------------------------------------


async def as_text(session: Any) -> None:
    (await session.receive()).text  # noqa: B018


async def as_json(session: Any) -> None:
    await session.receive_deserialized()


async def as_json_without_an_option(session: Any) -> None:
    await session.receive_json()


async def as_a_dict(session: Any) -> None:
    await session.receive_deserialized(dict)


async def in_a_listener(session: Any) -> None:
    await session.listen(lambda frame: frame.text)


async def in_a_task(session: Any) -> None:
    await session.create_task(as_text(session))


async def in_a_group(session: Any) -> None:
    async with TaskGroup() as tasks:
        tasks.create_task(as_text(session))


PAYLOADS: list[Any] = [
    pytest.param(as_text, Frame.binary(b"\xff"), 1007, id="text"),
    pytest.param(as_json, Frame.text("{"), 1007, id="json"),
    pytest.param(as_json, Frame.text("[" * 100_000), 1007, id="deep json"),
    pytest.param(as_a_dict, Frame.text("[]"), 1007, id="another type"),
    pytest.param(as_json_without_an_option, Frame.text("{"), 1007, id="json without an option"),
    pytest.param(as_json_without_an_option, Frame.binary(b"{}"), 1003, id="json in a binary message"),
    pytest.param(as_json, Frame.binary(b"{}"), 1003, id="the wrong kind"),
    pytest.param(in_a_listener, Frame.binary(b"\xff"), 1007, id="listener"),
    pytest.param(in_a_task, Frame.binary(b"\xff"), 1007, id="task"),
    pytest.param(in_a_group, Frame.binary(b"\xff"), 1007, id="group", marks=needs_groups),
]


@each_managed
@pytest.mark.parametrize(("handle", "sent", "code"), PAYLOADS)
async def test_what_a_payload_causes_is_one_line(
    kind: str, handle: Any, sent: Frame, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """No traceback: a client must not fill the log."""
    caplog.set_level(logging.INFO, "aiohttp_rawws")
    async with talking(kind, converter=JSONConverter()) as talk:
        task = run(talk.session, handle)
        talk.peer.send_nowait(sent)
        await settle()
        talk.peer.close_nowait()
        await hang_up(talk.peer)
        await bounded_wait(task)
        assert codes(waiting(talk.peer)) == [code]
    assert [(record.levelno, record.exc_info) for record in caplog.records] == [(logging.INFO, None)]
    assert "\n" not in caplog.records[0].getMessage()


@each_managed
@pytest.mark.parametrize(("handle", "sent"), [(as_text, Frame.binary(b"\xff")), (as_json, Frame.text("{"))])
async def test_a_handler_that_catches_it_goes_on(
    kind: str, handle: Any, sent: Frame, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aiohttp_rawws")

    async def forgiving(session: Any) -> None:
        with pytest.raises(Exception):  # noqa: B017  # InvalidPayload or DeserializeError
            await handle(session)
        await session.send((await session.receive()).text)

    async with talking(kind, converter=JSONConverter()) as talk:
        task = run(talk.session, forgiving)
        talk.peer.send_nowait(sent)
        talk.peer.send_nowait("and now this")
        await idle()
        frames = waiting(talk.peer)
        assert texts(frames) == ["and now this"] and codes(frames) == [1000]
        talk.peer.close_nowait()
        await hang_up(talk.peer)
        await bounded_wait(task)
    assert not caplog.records


@each_managed
async def test_a_payload_beside_an_error_of_the_handlers_own_is_that(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(session: Any) -> None:
        try:
            await as_text(session)
        except InvalidPayload as exc:
            raise (group(exc, LookupError()) if sys.version_info >= (3, 11) else LookupError()) from None

    async with talking(kind) as talk:
        task = run(talk.session, handle)
        talk.peer.send_nowait(b"\xff")
        await settle()
        talk.peer.close_nowait()
        await hang_up(talk.peer)
        await bounded_wait(task)
        assert codes(waiting(talk.peer)) == [1011]
    assert len(errors_of(caplog)) == 1


# ---- a session that was in use ------------------------------------------------------------------

USES: dict[str, Callable[[Any], Any]] = {
    "start()": lambda session: session.start(),
    "send()": lambda session: session.send("x"),
    "send_nowait()": lambda session: session.send_nowait("x"),
    "receive()": lambda session: session.receive(),
    "receive_nowait()": lambda session: session.receive_nowait(),
    "ping()": lambda session: session.ping(),
    "close_reason": lambda session: session.close_reason,
    "broadcast()": lambda session: broadcast([session], "x"),
    "async with": lambda session: session.__aenter__(),
    "nothing": lambda session: None,
}


@each_managed
@pytest.mark.parametrize("use", USES)
async def test_run_managed_over_a_session_in_use(kind: str, use: str, caplog: pytest.LogCaptureFixture) -> None:
    called: list[bool] = []

    async def handle(session: Any) -> None:
        called.append(True)

    async with talking(kind) as talk:
        talk.peer.send_nowait("first")
        result = USES[use](talk.session)
        if hasattr(result, "__await__") and use != "broadcast()":
            waits = asyncio.ensure_future(until(result))
            await settle()
            waits.cancel()
            await asyncio.wait([waits])
        task = run(talk.session, handle)
        await settle()
        talk.peer.close_nowait()
        await hang_up(talk.peer)
        await bounded_wait(task)
        assert called == [True]
        assert codes(waiting(talk.peer)) == [1000]
    assert not errors_of(caplog)


async def until(awaitable: Any) -> Any:
    return await awaitable


@each_kind
@pytest.mark.parametrize("end", ["lost", "closed", "aborted", "closing"])
async def test_a_handler_over_a_session_that_is_over(kind: str, end: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is called, hears of the end, and ends."""
    heard: list[BaseException] = []

    async def handle(session: Any) -> None:
        heard.append(await end_of(session))

    async with talking(kind, close_timeout=2) as talk:
        if end == "lost":
            talk.peer.abort()
        elif end == "aborted":
            talk.session.abort()
        elif end == "closing":
            talk.session.close_nowait()
        else:
            talk.peer.close_nowait()
        await settle()
        task = run(talk.session, handle)
        if end == "closing":
            await settle()
            talk.peer.close_nowait()
        await bounded_wait(task)
    assert len(heard) == 1 and not errors_of(caplog)


# ---- cancellation -------------------------------------------------------------------------------


async def tick(session: Any) -> None:
    while True:
        await session.send("tick")
        await asyncio.sleep(1)


async def awaits_a_task(session: Any) -> None:
    await session.create_task(asyncio.sleep(3600))


async def awaits_two(session: Any) -> None:
    await asyncio.gather(session.create_task(asyncio.sleep(3600)), session.create_task(asyncio.sleep(3600)))


async def awaits_one_by_name(session: Any) -> None:
    task = session.create_task(asyncio.sleep(3600))
    await asyncio.wait_for(task, 3600)


@needs_groups
@each_kind
@pytest.mark.parametrize("handle", [awaits_a_task, awaits_two, awaits_one_by_name])
async def test_a_task_of_the_session_that_ends_with_it_does_not_cancel_the_handler(
    kind: str, handle: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody has cancelled that: it is an end like any other."""
    async with talking(kind) as talk:
        task = run(talk.session, handle)
        await settle()
        talk.peer.abort()
        await bounded_wait(task)
        assert not task.cancelled()
    assert not errors_of(caplog)


@each_kind
@pytest.mark.parametrize("handle", [awaits_a_task, awaits_two, end_of, tick])
async def test_a_handler_that_is_cancelled_is(kind: str, handle: Any) -> None:
    """Also if it awaits a task of its session at that moment."""
    async with talking(kind) as talk:
        task = run(talk.session, handle)
        await settle()
        task.cancel()
        await bounded_wait(asyncio.wait([task]))
        assert task.cancelled()
        assert talk.session.close_state.lost or talk.session.connection.connection_phase


@each_kind
async def test_a_handler_that_is_cancelled_while_its_session_ends(kind: str) -> None:
    async def handle(session: Any) -> None:
        pass

    async with talking(kind, close_timeout=100) as talk:
        task = run(talk.session, handle)
        await settle()
        assert not task.done()
        task.cancel()
        await bounded_wait(asyncio.wait([task]))
        assert task.cancelled()
        await bounded_wait(talk.session.wait_closed())


# ---- what is left -------------------------------------------------------------------------------


async def returns(session: Any) -> None:
    pass


async def receives(session: Any) -> None:
    async for _ in session:
        pass


async def raises(session: Any) -> None:
    raise LookupError("a mistake")


async def listens(session: Any) -> None:
    await session.listen(lambda message: None)


async def closes(session: Any) -> None:
    await session.close()


async def leaves_all(session: Any) -> None:
    session.create_task(tick(session))
    await asyncio.sleep(5)


BAD = {
    "violation": b"\x83\x80abcd",
    "bad text": b"\x81\x81\0\0\0\0\xff",
    "bad deflate": b"\xc1\x82\0\0\0\0\xff\xff",
}


@each_kind
@pytest.mark.parametrize("handle", [returns, receives, raises, listens, closes, leaves_all])
@pytest.mark.parametrize("end", ["close", "loss", "overflow", "eof", *BAD])
async def test_a_session_that_is_over_is_freed_at_once(
    kind: str, handle: Any, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the collector of cycles, and its extensions, too. Frames that were not taken do not keep it alive."""
    monkeypatch.setattr(logging.getLogger("aiohttp_rawws"), "disabled", True)  # pytest keeps records, with tracebacks
    gc.collect()
    gc.disable()
    try:
        incoming = bounded(4, "close" if end == "overflow" else "suspend")
        raw, peer = memory_pair(close_timeout=2, incoming=incoming, ping_interval=1.0)
        session = over(kind, raw, None, None)
        refs = [weakref.ref(raw), weakref.ref(session)]
        refs += [weakref.ref(extension) for extension in raw.negotiated_extensions]
        refs += [weakref.ref(extension) for extension in getattr(session, "extensions", ())]
        for _ in range(50):
            peer.send_nowait("x")
        task = asyncio.ensure_future((run_session if session is raw else run_managed)(session, handle))
        del raw, session
        await settle()
        if end == "close":
            peer.close_nowait()
        elif end in BAD and not peer.close_state.lost:
            peer.write_bytes(BAD[end])
        elif end == "loss":
            peer.abort()
        await hang_up(peer)
        await advance(10)
        await bounded_wait(task)
        del task
        peer.abort()
        await bounded_wait(peer.wait_closed())
        await settle()
        assert [ref() for ref in refs] == [None] * len(refs)
    finally:
        gc.enable()


# ---- eager tasks ----------------------------------------------------------------------------------


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are of Python 3.12 or newer")
@each_kind
@pytest.mark.parametrize("sent", [b"\x81\x81\0\0\0\0\xff", b"\x83\x80\0\0\0\0", b"\x88\x81\0\0\0\0\x03", b"eof"])
async def test_eager_tasks_make_one_ending(kind: str, sent: bytes) -> None:
    """Each failure that the managed layer finds, and a half-closed peer: one Close, and no task is left."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    try:
        async with talking(kind, close_timeout=2) as talk:

            async def echo(session: Any) -> None:
                async for message in session:
                    await session.send(message)

            before = asyncio.all_tasks()
            task = run(talk.session, echo)
            talk.peer.send_nowait("x")
            await settle()
            if sent == b"eof":
                await hang_up(talk.peer)
            else:
                talk.peer.write_bytes(sent)
            await idle()
            found = codes(waiting(talk.peer))
            if kind in ("managed", "deflate"):
                assert len(found) == 1
            await hang_up(talk.peer)
            await bounded_wait(task)
            await settle()
            assert asyncio.all_tasks() <= before | {task}
    finally:
        loop.set_task_factory(None)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are of Python 3.12 or newer")
@each_kind
async def test_eager_tasks_send_and_receive(kind: str) -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    try:
        async with talking(kind, outgoing=bounded(2)) as talk:
            receiving = asyncio.ensure_future(talk.session.receive())
            sends = [asyncio.ensure_future(talk.session.send(str(number))) for number in range(20)]
            talk.peer.send_nowait("x")
            assert (await bounded_wait(receiving)).text == "x"
            await bounded_wait(asyncio.gather(*sends))
            await idle()
            assert texts(waiting(talk.peer)) == [str(number) for number in range(20)]
    finally:
        loop.set_task_factory(None)
