"""Every public call of a session, in every phase of its life: it does what the tables of ``phases.py`` say.

``ways.py`` brings sessions into their phases. A call returns, waits or raises as the tables say, logs nothing, and once
the session is over nothing of it is left: no task, no timer, no future and no reference cycle.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from aiohttp_rawws import (
    ChannelOverflow,
    ConnectionLost,
    DefaultWebSocketSession,
    DeserializeError,
    Frame,
    PerMessageDeflate,
    SessionClosed,
    WebSocketSession,
    run_managed,
    run_session,
)
from aiohttp_rawws.session.channels import Incoming, Outgoing
from aiohttp_rawws.session.phases import (
    ALWAYS,
    CALLS,
    CONNECTION_MOVES,
    INTERNAL,
    RECEIVE_MOVES,
    SEND_MOVES,
    ConnectionPhase,
    Event,
    Outcome,
    ReceivePhase,
    SendPhase,
)
from aiohttp_rawws.wire.codec import is_control

from ..tools import clock, lifecycle
from ..tools.talking import negotiated
from ..tools.waiting import settle
from ..tools.ways import CALLBACK_ERROR, WAYS, CallbackError, Setting, Way

STRICTEST = list(Outcome)

# ---- the calls ------------------------------------------------------------------------------


def ignore(item: object = None) -> None:
    pass


async def listen(on: Setting) -> None:
    await on.session.listen(on.delivered.append)


async def enter_and_leave(on: Setting) -> None:
    async with on.session:
        pass


async def receive_stream(on: Setting) -> Frame:
    async with on.session.receive_stream() as incoming:
        payload = await incoming.read()
    return Frame(incoming.header.opcode, payload)


def cork(on: Setting) -> None:
    with on.session.cork():
        pass


def create_task(on: Setting) -> None:
    on.helpers.append(on.session.create_task(asyncio.sleep(3600)))


def as_stream(on: Setting) -> None:
    on.writers.append(on.session.as_stream()[1])  # which warns if it is dropped before it is closed


def pause_and_resume(on: Setting) -> None:
    on.raw.pause_reading()
    on.raw.resume_reading()


def apply_extensions(on: Setting) -> None:
    on.raw.negotiated_extensions, _ = negotiated(PerMessageDeflate())
    on.raw.apply_extensions()


async def close_reason(on: Setting) -> Any:
    return await on.session.close_reason


OF_CALLS: dict[str, Callable[[Setting], Any]] = {
    "receive()": lambda on: on.session.receive(),
    "async for": lambda on: anext(on.session),
    "receive_stream()": receive_stream,
    "receive_nowait()": lambda on: on.session.receive_nowait(),
    "receive_json()": lambda on: on.session.receive_json(timeout=10_000),  # which is receive(timeout), too
    "receive_deserialized()": lambda on: on.session.receive_deserialized(),
    "incoming.receive()": lambda on: on.session.incoming.receive(),
    "incoming.try_receive()": lambda on: on.session.incoming.try_receive(),
    "async for incoming": lambda on: anext(aiter(on.session.incoming)),
    "listen()": listen,
    "as_stream()": as_stream,
    "pause_reading()": lambda on: on.session.pause_reading(),
    "resume_reading()": pause_and_resume,
    "on_end()": lambda on: on.session.on_end(ignore),
    "apply_extensions()": apply_extensions,
    "ping()": lambda on: on.session.ping(b"a ping"),
    "close_reason": close_reason,
    "send()": lambda on: on.session.send("sent"),
    "outgoing.send()": lambda on: on.session.outgoing.send("sent"),
    "send_nowait()": lambda on: on.session.send_nowait("sent"),
    "outgoing.try_send()": lambda on: on.session.outgoing.try_send("sent"),
    "send_json()": lambda on: on.session.send_json("sent"),
    "send_serialized()": lambda on: on.session.send_serialized("sent"),
    "send_raw()": lambda on: on.session.send_raw(b"\x81\x01", b"x"),
    "write_bytes()": lambda on: on.session.write_bytes(b"\x81\x01x"),
    "close_nowait()": lambda on: on.session.close_nowait(),
    "send_stream()": lambda on: on.session.send_stream([b"sent"]),
    "write_eof()": lambda on: on.session.write_eof(),
    "wait_writable()": lambda on: on.session.wait_writable(),
    "cork()": cork,
    "flush()": lambda on: on.session.flush(),
    "close()": lambda on: on.session.close(),
    "close_exceptionally()": lambda on: on.session.close_exceptionally(ValueError("why")),
    "async with": enter_and_leave,
    "end()": lambda on: on.session.end(),
    "abort()": lambda on: on.session.abort(),
    "wait_closed()": lambda on: on.session.wait_closed(),
    "create_task()": create_task,
}
ARGUMENTS: dict[str, tuple[Any, ...]] = {  # of the calls in ALWAYS
    "can_send_now()": ("x",),
    "extension()": (PerMessageDeflate,),
    "get_extra_info()": ("peername",),
    "owns()": (ValueError(),),
}
SETTABLE = (
    "auto_close",
    "auto_pong",
    "batching",
    "frame_streaming_threshold",
    "masking",
    "max_frame_size",
    "max_message_size",
    "negotiated_extensions",
    "on_close",
    "on_ping",
    "on_pong",
    "on_violation",
    "ping_interval",
    "timeout",
)
RECEIVING = (
    "receive()",
    "async for",
    "receive_stream()",
    "receive_json()",
    "receive_deserialized()",
    "incoming.receive()",
    "async for incoming",
)
SENDING = ("send()", "outgoing.send()", "send_json()", "send_serialized()", "send_stream()")
ITERATING = ("async for", "async for incoming")


def calls_of(kind: str) -> list[str]:
    """The names of the calls that a session of this kind has, each once."""
    wanted = ("both", "raw" if kind == "raw" else "managed")
    return list(dict.fromkeys(call.name for call in CALLS if call.sessions in wanted))


def of_table(kind: str, name: str, reached: tuple[int, int, int]) -> tuple[Outcome, type]:
    """The outcome in ``CALLS`` for a call in these phases, and the side that decides it."""
    found = []
    for call in CALLS:
        if call.name == name and call.sessions in ("both", "raw" if kind == "raw" else "managed"):
            phase = reached[(ReceivePhase, SendPhase, ConnectionPhase).index(call.side)]
            found.append(((call.first, call.second, call.third)[phase], call.side))
    return max(found, key=lambda entry: STRICTEST.index(entry[0]))


# ---- what a call does -----------------------------------------------------------------------


class Result(NamedTuple):
    """How a call ended. It holds nothing of the session."""

    what: str  # "returned", "raised", "waits", "cancelled"
    value: object = None  # what it returned, or the type of what it raised


WAITS = Result("waits")


def started(call: Callable[[Setting], Any], on: Setting) -> asyncio.Task[Any] | Result:
    """Make a call. One that can be awaited becomes a task."""
    try:
        value = call(on)
    except Exception as exc:
        return Result("raised", type(exc))
    if not inspect.isawaitable(value):
        return Result("returned", value)

    async def wait() -> Any:
        return await value

    return asyncio.get_running_loop().create_task(wait())


def result_of(task: asyncio.Task[Any] | Result) -> Result:
    if isinstance(task, Result):
        return task
    if not task.done():
        return WAITS
    if task.cancelled():
        return Result("cancelled")
    exc = task.exception()
    return Result("returned", task.result()) if exc is None else Result("raised", type(exc))


def has_to_wait(on: Setting, name: str) -> bool:
    """True if a call that acts has to wait. These are the rules, in terms that users see."""
    way, session, state = on.way, on.session, on.session.close_state
    receiving, sending, connection = on.phases
    if name in RECEIVING:
        return receiving == ReceivePhase.OPEN and not session.frames_waiting and not way.listener
    if name == "send_stream()":  # parts are not queued
        return sending == SendPhase.OPEN and (way.stuck or way.behind)
    if name in SENDING:
        return sending == SendPhase.OPEN and (way.full or way.behind)
    if name == "wait_writable()":
        return sending == SendPhase.OPEN and way.full
    if name == "write_eof()":  # the transport need not be below its high-water mark
        return session.frames_unsent > 0 and connection != ConnectionPhase.LOST
    if name == "flush()" or (name in ("close()", "close_exceptionally()") and on.is_raw):
        return way.stuck and connection != ConnectionPhase.LOST
    if name == "wait_closed()":
        return connection != ConnectionPhase.LOST
    if name in ("close()", "close_exceptionally()", "async with", "end()"):
        if connection == ConnectionPhase.OPEN and state.eof:  # the end of our side ends the connection
            return way.stuck
        return connection != ConnectionPhase.LOST
    if name == "ping()":
        return True
    if name == "close_reason":
        return not session.incoming_ended and state.sent is None and connection != ConnectionPhase.LOST
    if name == "listen()" and on.is_raw and receiving == ReceivePhase.CLOSING:
        return way.stuck and connection != ConnectionPhase.LOST
    return name == "listen()" and receiving == ReceivePhase.OPEN and not way.close_behind


def end_error(on: Setting) -> type[BaseException]:
    """The type of the error for the end of the session, if nothing has failed."""
    state = on.session.close_state
    if state.sent is not None or state.received is not None or on.way.in_order:
        return SessionClosed
    if state.eof or on.phases[2] != ConnectionPhase.OPEN:
        return ConnectionLost
    return SessionClosed


def expected(on: Setting, name: str) -> list[Result] | None:
    """The results that are right. None: the call returns whatever it returns."""
    way = on.way
    if way.listener and (name in RECEIVING or name in ("listen()", "as_stream()")):
        return [Result("raised", RuntimeError)]
    if way.listener and name in ("receive_nowait()", "incoming.try_receive()"):
        return [Result("returned", None)]
    outcome, side = of_table(on.kind, name, on.phases)
    if outcome is Outcome.RAISES:
        if side is ReceivePhase and name != "ping()" and way.failure is not None:
            return [Result("raised", way.failure)]
        if way.overflowed and side is not ReceivePhase and name != "create_task()":
            return [Result("raised", ChannelOverflow)]
        return [Result("raised", end_error(on))]
    if outcome in (Outcome.WAITS, Outcome.ENDS) and has_to_wait(on, name):
        return [WAITS]
    if outcome is Outcome.ENDS:
        if way.failure is not None:
            return [Result("raised", way.failure)]
        return [Result("raised", StopAsyncIteration) if name in ITERATING else Result("returned", None)]
    if name == "send_nowait()" and way.full:
        return [Result("raised", ChannelOverflow)]
    if name == "outgoing.try_send()":
        return [Result("returned", not way.full)]
    if name in ("send_raw()", "write_bytes()") and way.overflowed:
        return [Result("raised", ChannelOverflow)]
    return None


def properties_of(on: Setting) -> tuple[Any, ...]:
    """The properties of a session."""
    session = on.session
    waiting = session.frames_waiting, session.frames_unsent
    return on.phases, session.close_state, session.stats, waiting, session.outgoing_full, session.incoming_ended


# ---- nothing is left ------------------------------------------------------------------------


class Records(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextmanager
def watched(level: int = logging.INFO) -> Iterator[Records]:
    """No garbage collection, and nothing logged."""
    records = Records(level)
    logger = logging.getLogger()
    before = logger.level
    logger.addHandler(records)
    logger.setLevel(level)
    gc.disable()
    try:
        yield records
    finally:
        gc.enable()
        logger.removeHandler(records)
        logger.setLevel(before)
    assert not records.texts


def futures_of(loop: Any) -> weakref.WeakSet[asyncio.Future[Any]]:
    """The futures that are made from now on, while they live."""
    made: weakref.WeakSet[asyncio.Future[Any]] = weakref.WeakSet()

    def create_future() -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.Future(loop=loop)
        made.add(future)
        return future

    loop.create_future = create_future
    return made


def timers_of(loop: Any) -> list[asyncio.TimerHandle]:
    return [handle for handle in getattr(loop, "_scheduled", []) if not handle.cancelled()]


async def settled(on: Setting) -> None:
    """Let all run that can, with no time passing."""
    if isinstance(asyncio.get_running_loop(), clock.Loop):
        await clock.idle()
    else:
        await settle()


async def walk(kind: str, way: Way, check: Callable[[Setting], Awaitable[str]]) -> list[str]:
    """Bring a session along ``way``, check something, end it, and look at what is left. Returns what is wrong."""
    loop: Any = asyncio.get_running_loop()
    timers, tasks = len(timers_of(loop)), asyncio.all_tasks()
    on = Setting(kind, way)
    sessions = [weakref.ref(on.session), weakref.ref(on.raw), weakref.ref(on.peer)]
    on.begin()
    await way.go(on)
    wrong = await check(on)
    if not wrong:
        await on.end()
        await settle(3)
        if way.failure is CallbackError:
            # The session keeps what its callback has raised. That is the application's, with the frames it has passed.
            CALLBACK_ERROR.__traceback__ = None
        if not on.is_raw:  # frames that wait below ``incoming`` hold the session, which is to get them
            await on.take_all()
    del on
    left = [] if not wrong else [wrong]
    if not wrong:
        left += [f"left: {task!r}" for task in asyncio.all_tasks() - tasks]
        left += [f"left: {handle!r}" for handle in timers_of(loop)[timers:]]
        left += [f"a reference cycle holds {ref()!r}" for ref in sessions if ref() is not None]
    return left


# ---- the walk -------------------------------------------------------------------------------

EACH_WAY = [pytest.param(kind, way, id=f"{kind}: {way.name}") for way in WAYS for kind in way.kinds]


def letters(reached: tuple[int, int, int]) -> str:
    return "".join("OCD"[phase] for phase in reached[:2]) + "ODL"[reached[2]]


@pytest.mark.loops("clock", "asyncio")
@pytest.mark.parametrize(("kind", "way"), EACH_WAY)
async def test_every_call(kind: str, way: Way) -> None:
    loop = asyncio.get_running_loop()
    if way.takes_time and not isinstance(loop, clock.Loop):
        return
    wrong = []
    with watched() as records:
        for name in calls_of(kind):

            async def check(on: Setting, name: str = name) -> str:
                reached = on.phases
                assert letters(reached) == way.leads_to(kind)
                right, before = expected(on, name), properties_of(on)
                task = started(OF_CALLS[name], on)
                await settle()
                result = result_of(task)
                if right is not None and result not in right:
                    return f"{name}: {result}, not {right}"
                if right is None and result.what != "returned":
                    return f"{name}: {result}"
                if of_table(kind, name, reached)[0] is Outcome.NOTHING and properties_of(on) != before:
                    return f"{name}: {properties_of(on)} was {before}"
                if result is WAITS:
                    await on.end()
                    await settle()
                    if (result := result_of(task)) is WAITS:
                        return f"{name} still waits when the connection is lost"
                return ""

            wrong += [f"{name}: {what}" for what in await walk(kind, way, check)]
            wrong += [f"{name} logs {text}" for text in records.texts]
            records.texts.clear()
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


@pytest.mark.loops("clock")
@pytest.mark.parametrize(("kind", "way"), EACH_WAY)
async def test_what_can_be_asked_at_any_time(kind: str, way: Way) -> None:
    async def check(on: Setting) -> str:
        before = properties_of(on)
        for name in ALWAYS:
            owner, attribute = on.session, name.removesuffix("()")
            if "." in attribute:
                channel, attribute = attribute.split(".")
                owner = getattr(owner, channel)
            if not hasattr(owner, attribute):
                continue
            value = getattr(owner, attribute)
            if name == "extension()" and kind != "deflate":
                with pytest.raises(LookupError):
                    value(*ARGUMENTS[name])
            elif name.endswith("()"):
                value = value(*ARGUMENTS.get(name, ()))
                if inspect.isawaitable(value):
                    await value
            elif attribute in SETTABLE:
                setattr(owner, attribute, value)
            if properties_of(on) != before:
                return f"{name}: {properties_of(on)} was {before}"
        assert repr(on.session) and repr(on.session.incoming) and repr(on.session.outgoing)
        return ""

    with watched():
        assert not await walk(kind, way, check)


@pytest.mark.loops("clock")
@pytest.mark.parametrize("kind", ["raw", "managed"])
async def test_what_a_callback_raises_shows_where(kind: str) -> None:
    on = Setting(kind, WAYS[0])

    def callback(frame: Frame) -> None:
        raise CallbackError

    async def listen() -> None:
        listening = on.session.listen(callback)
        for _ in range(2):
            with pytest.raises(CallbackError) as raised:
                await listening
            assert [entry.name for entry in raised.traceback].count("callback") == 1

    listener = on.help(listen())
    await settle()
    await on.say("0")
    await listener
    await on.end()


# ---- the tables -----------------------------------------------------------------------------

PROTOCOLS = {"async for": ("__aiter__", "__anext__"), "async with": ("__aenter__", "__aexit__")}


@pytest.mark.parametrize(
    ("cls", "sessions", "prefix"),
    [
        (WebSocketSession, "raw", ""),
        (DefaultWebSocketSession, "managed", ""),
        (Incoming, "both", "incoming."),
        (Outgoing, "both", "outgoing."),
    ],
)
def test_the_tables_name_everything(cls: type, sessions: str, prefix: str) -> None:
    """A new method has to go into a table."""
    kinds = ("raw", "managed") if sessions == "both" else (sessions,)
    named = [call.name for call in CALLS if call.sessions == "both" or call.sessions in kinds]
    listed = {name.removeprefix(prefix) for name in [*named, *ALWAYS, *INTERNAL] if name.startswith(prefix)}
    for name in dir(cls):
        if not name.startswith("_"):
            written = f"{name}()" if callable(getattr(cls, name)) else name
            assert written in listed, f"{cls.__name__}.{written}"
    for name in listed:
        if "." not in name and name not in ALWAYS and name not in INTERNAL and not prefix:
            for attribute in PROTOCOLS.get(name, (name.removesuffix("()"),)):
                assert name.startswith("async for ") or hasattr(cls, attribute), name


def test_each_name_is_one_of_something() -> None:
    names = [*dict.fromkeys(call.name for call in CALLS), *ALWAYS, *INTERNAL]
    assert len(names) == len(set(names))
    for name in ALWAYS:
        attribute = name.removesuffix("()").split(".")[-1]
        assert any(hasattr(cls, attribute) for cls in (WebSocketSession, DefaultWebSocketSession, Incoming, Outgoing))
    assert {call.name for call in CALLS} == set(OF_CALLS)


def test_the_ways_lead_everywhere() -> None:
    """To each combination of phases that events can lead to."""
    for kind in ("raw", "managed"):
        reachable = set()
        new = {(0, 0, 0)}
        while new:
            reachable |= new
            new = {after(kind, reached, event) for reached in new for event in Event} - reachable
        led = {way.leads_to(kind) for way in WAYS if kind in way.kinds}
        assert led == {letters(reached) for reached in reachable}


def after(kind: str, reached: tuple[int, int, int], event: Event) -> tuple[int, int, int]:
    receiving, sending, connection = reached
    if event is Event.OUTPUT_ENDED and connection == ConnectionPhase.OPEN and kind == "managed":
        return reached  # its side of the stream ends with the connection: it has no write_eof()
    return (
        int(RECEIVE_MOVES[receiving].get(event, receiving)),
        int(SEND_MOVES[sending].get(event, sending)),
        int(CONNECTION_MOVES[connection].get(event, connection)),
    )


def test_the_page_has_these_tables() -> None:
    page = lifecycle.PAGE.read_text(encoding="utf-8")
    assert page == lifecycle.written(page), "python -m tests.tools.lifecycle writes them"


# ---- calls that wait ------------------------------------------------------------------------

LONG = 25.0  # seconds, after which everything that has a limit has come to it: close_timeout is 10
CLOSES = ("close()", "close_exceptionally()", "async with", "end()", "write_eof()")
ACTS_FIRST = (*CLOSES, "ping()", "listen()")  # and then they wait


async def handle(session: object) -> None:
    """A handler that returns."""


def lose(on: Setting) -> None:
    on.release_transports()
    on.peer.abort()


def abort(on: Setting) -> None:
    on.release_transports()
    on.session.abort()


def peer_closes(on: Setting) -> None:
    if on.peer_can_send:
        on.peer.close_nowait()


def end_elsewhere(on: Setting) -> None:
    on.release()
    on.ended_here = True
    on.help(on.raw.end() if on.is_raw else on.session.close())


def handler_returns(on: Setting) -> None:
    on.release()
    on.ended_here = True
    on.help(run_session(on.raw, handle) if on.is_raw else run_managed(on.session, handle))


def go_on(on: Setting) -> None:
    """Let the call finish: the peer reads, answers, and sends."""
    on.release()
    on.peer.resume_reading()
    if on.peer_can_send:
        if not on.is_raw:
            on.peer.send_nowait(Frame.pong(b"a ping"))
        on.peer.send_nowait("7")
        on.said.append("7")


ENDINGS = (lose, abort, peer_closes, end_elsewhere, handler_returns)


def waits_of(kind: str) -> list[str]:
    """The calls that can wait."""
    waiting = {call.name for call in CALLS if Outcome.WAITS in call[3:6]}
    return [name for name in calls_of(kind) if name in waiting]


async def begun(on: Setting, name: str) -> asyncio.Task[Any] | None:
    """The call as a task that waits; None if it does not wait here."""
    if expected(on, name) != [WAITS]:
        return None
    task = started(OF_CALLS[name], on)
    await settle()
    assert isinstance(task, asyncio.Task)
    on.helpers.append(task)
    return task


# A session that compresses differs in what it sends.
EACH_WAIT = [(kind, way) for way in WAYS for kind in way.kinds if kind != "deflate" or way.stuck]
FROM_OPEN = [(kind, way) for kind, way in EACH_WAIT if "OOO" in way.phases.values()]


def each_of(cases: list[tuple[str, Way]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("kind", "way"), cases, ids=[f"{kind}: {way.name}" for kind, way in cases])


@pytest.mark.loops("clock")
@each_of(EACH_WAIT)
async def test_what_a_waiting_call_does_at_the_end(kind: str, way: Way) -> None:
    """However the session ends, the call ends, as it would if it began now."""
    wrong = []
    with watched(logging.WARNING) as records:  # a limit that was reached is logged at INFO
        for name in waits_of(kind):
            for ending in ENDINGS:

                async def check(on: Setting, name: str = name, ending: Callable[[Setting], None] = ending) -> str:
                    task = await begun(on, name)
                    if task is None:
                        return ""
                    ending(on)
                    await clock.advance(LONG)
                    return of_the_end(on, name, result_of(task))

                left = await walk(kind, way, check)
                wrong += [f"{name}, {ending.__name__}: {what}" for what in left]
                wrong += [f"{name}, {ending.__name__}, logs {text}" for text in records.texts]
                records.texts.clear()
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


def of_the_end(on: Setting, name: str, result: Result) -> str:
    """The mistake in the result of a call that waited while the session ended, or an empty text."""
    right = expected(on, name)
    if name in RECEIVING and on.is_raw and (isinstance(result.value, Frame) or result.value is DeserializeError):
        return ""  # the peer's Close
    if name in SENDING and on.way.behind and result.what == "returned":
        return ""  # what was sent before has left the thread, and so has this
    if on.ended_here and result == Result("raised", SessionClosed) and right == [Result("raised", ConnectionLost)]:
        return ""  # it was raised before the connection was lost
    if result == WAITS and name == "wait_closed()" and on.phases[2] == ConnectionPhase.OPEN and on.is_raw:
        return ""  # nothing has ended this raw session yet
    if (right is None and result.what == "returned") or (right is not None and result in right):
        return ""
    return f"{result}, not {right}, in {letters(on.phases)}"


@pytest.mark.loops("clock")
@each_of(EACH_WAIT)
async def test_a_waiting_call_that_is_cancelled(kind: str, way: Way) -> None:
    """The session goes on as if it had not been made."""
    wrong = []
    with watched() as records:
        for name in waits_of(kind):

            async def check(on: Setting, name: str = name) -> str:
                loop: Any = asyncio.get_running_loop()
                before = properties_of(on)
                made = futures_of(loop)
                task = await begun(on, name)
                if task is not None:
                    task.cancel()
                    await settle()
                    if result_of(task).what != "cancelled":
                        return f"{result_of(task)}"
                    on.helpers.remove(task)
                del task, loop.create_future
                left = len(made)
                if left:
                    return f"{left} futures are left"
                if name not in ACTS_FIRST and properties_of(on) != before:
                    return f"{properties_of(on)} was {before}"
                return await goes_on(on, name, [])

            wrong += [f"{name}: {what}" for what in await walk(kind, way, check)]
            wrong += [f"{name} logs {text}" for text in records.texts]
            records.texts.clear()
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


@pytest.mark.loops("clock")
@each_of(FROM_OPEN)
async def test_a_call_that_is_cancelled_as_it_goes_on(kind: str, way: Way) -> None:
    """After each step of the loop from the moment on at which what it waits for happens. Nothing is lost or doubled."""
    wrong = []
    with watched() as records:
        for name in waits_of(kind):
            for steps in range(5):

                async def check(on: Setting, name: str = name, steps: int = steps) -> str:
                    task = await begun(on, name)
                    if task is None:
                        return ""
                    go_on(on)
                    for _ in range(steps):
                        await asyncio.sleep(0)
                    task.cancel()
                    await settle()
                    result = result_of(task)
                    if result.what not in ("cancelled", "returned"):
                        return f"{result}"
                    taken = [text_of(result.value)] if name in RECEIVING and result.what == "returned" else []
                    return await goes_on(on, name, taken)

                wrong += [f"{name}, {steps} steps: {what}" for what in await walk(kind, way, check)]
                wrong += [f"{name}, {steps} steps, logs {text}" for text in records.texts]
                records.texts.clear()
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


def text_of(value: Any) -> str:
    return value.text if isinstance(value, Frame) else str(value)


async def goes_on(on: Setting, name: str, taken: list[str]) -> str:
    """Talk on, in both directions as far as they are open. Returns what is missing, doubled or moved.

    Args:
        name: The call that was made and cancelled.
        taken: What it returned.
    """
    receiving, sending, connection = on.phases
    if connection != ConnectionPhase.OPEN:
        return ""
    if name in CLOSES:  # perhaps behind what is compressed in a thread
        sending = SendPhase.CLOSING
    on.release()
    on.peer.resume_reading()
    if sending == SendPhase.OPEN:
        await asyncio.wait_for(on.session.send("after"), LONG)
        await clock.idle()
        texts = [frame.payload for frame in iter(on.peer.receive_nowait, None) if not is_control(frame)]
        if texts[-1:] != [b"after"] or texts.count(b"after") != 1 or texts.count(b"sent") + texts.count(b'"sent"') > 1:
            return f"the peer got {texts}"
    # Behind a Close of ours, what does not fit ``incoming`` of a managed session is dropped.
    if receiving == ReceivePhase.OPEN and on.peer_can_send and (on.is_raw or sending == SendPhase.OPEN):
        on.peer.send_nowait("later")
        listening = on.way.listener or name == "listen()"
        if listening:
            if on.is_raw:
                on.raw.resume_reading()
            await clock.idle()
            taken = [frame.text for frame in on.delivered if not is_control(frame)]
        while taken[-1:] != ["later"] and not listening:
            frame = await asyncio.wait_for(on.session.receive(), LONG)
            if not is_control(frame):
                taken.append(frame.text)
        if taken != [*on.said, "later"]:
            return f"received {taken}, not {on.said} and what came later"
    return ""
