"""OpenTelemetry and Sentry: a session is inside its request's span and scope, as long as it lasts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import sentry_sdk
from aiohttp import web
from opentelemetry import trace
from opentelemetry.instrumentation.aiohttp_server import AioHttpServerInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.aiohttp import AioHttpIntegration
from sentry_sdk.integrations.dedupe import DedupeIntegration
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.transport import Transport

import aiohttp_rawws as rawws

from ..tools.peers import TEXT, close_frame, frame, serving
from ..tools.waiting import eventually

pytestmark = pytest.mark.loops("asyncio", "uvloop")

Handle = Callable[[Any], Awaitable[object]]


async def echo(session: Any) -> None:
    async for message in session:
        if message.opcode is rawws.Opcode.CLOSE:
            await session.close()
        elif message.payload == b"fail":
            raise ZeroDivisionError("on demand")
        else:
            await session.send(message)


def raw_route(handle: Handle, **options: Any) -> web.AbstractRouteDef:
    return rawws.websocket_raw("/chat/{room}", handle, **options)


def managed_route(handle: Handle, **options: Any) -> web.AbstractRouteDef:
    return rawws.websocket("/chat/{room}", handle, **options)


def decorated(handle: Handle, **options: Any) -> web.AbstractRouteDef:
    return web.get("/chat/{room}", rawws.websocket(handle, **options))


def returned(handle: Handle, **options: Any) -> web.AbstractRouteDef:
    upgrade: Any = rawws.WebSocketUpgrade

    async def handler(request: web.Request) -> web.StreamResponse:
        return upgrade(request, handle=handle, **options)

    return web.get("/chat/{room}", handler)


each_place = pytest.mark.parametrize("place", [raw_route, managed_route, decorated], ids=lambda place: place.__name__)


def application(*routes: web.AbstractRouteDef, plugin: bool = True) -> web.Application:
    app = web.Application()
    if plugin:
        rawws.setup(app, close_timeout=2.0)
    app.add_routes(routes)
    return app


async def fail(app: web.Application, path: str = "/chat/lobby") -> None:
    """A session whose handler raises."""
    async with serving(app) as served, served.peer() as peer:
        await peer.open(path)
        await peer.send(frame(TEXT, b"fail"))
        try:
            await peer.send(close_frame(1011))
            await peer.read_to_end()
        except ConnectionError:
            pass  # a raw session is aborted
        await peer.close()
        await served.idle()


# ---- OpenTelemetry ------------------------------------------------------------------------


class Spans:
    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer(__name__)

    @property
    def of_the_server(self) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.kind is trace.SpanKind.SERVER]

    def named(self, name: str) -> ReadableSpan:
        (span,) = [span for span in self._exporter.get_finished_spans() if span.name == name]
        return span


@pytest.fixture
def spans() -> Iterator[Spans]:
    """Spans of a process whose aiohttp was instrumented before the application is made."""
    spans = Spans()
    instrumentor = AioHttpServerInstrumentor()
    with pytest.warns(DeprecationWarning, match="Inheritance"):  # it makes a subclass of web.Application
        instrumentor.instrument(tracer_provider=spans.provider)
    yield spans
    instrumentor.uninstrument()
    spans.provider.shutdown()


@each_place
@pytest.mark.parametrize("plugin", [True, False])
async def test_a_span_lasts_as_long_as_the_session(place: Any, plugin: bool, spans: Spans) -> None:
    recording: list[bool] = []

    async def handle(session: Any) -> None:
        recording.append(trace.get_current_span().is_recording())
        await echo(session)
        with spans.tracer.start_as_current_span("at the end"):
            recording.append(trace.get_current_span().is_recording())

    async with serving(application(place(handle), plugin=plugin)) as served, served.peer() as peer:
        await peer.open("/chat/lobby")
        await peer.send(frame(TEXT, b"hello"))
        assert await peer.frame() == (TEXT, b"hello")
        assert not spans.of_the_server
        await peer.finish()
        await peer.close()
        await served.idle()
        await eventually(lambda: spans.of_the_server)
    assert recording == [True, True]
    (span,) = spans.of_the_server
    inner = spans.named("at the end")
    assert span.name == "GET /chat/{room}"
    assert span.attributes is not None
    assert span.attributes["http.status_code"] == 101
    assert span.status.status_code is StatusCode.UNSET
    assert inner.parent == span.context
    assert span.end_time is not None and inner.end_time is not None
    assert span.end_time >= inner.end_time


@each_place
@pytest.mark.parametrize("plugin", [True, False])
async def test_an_error_marks_the_span(place: Any, plugin: bool, spans: Spans) -> None:
    await fail(application(place(echo), plugin=plugin))
    (span,) = spans.of_the_server
    assert span.status.status_code is StatusCode.ERROR
    (event,) = span.events
    assert event.attributes is not None
    assert event.attributes["exception.type"] == "ZeroDivisionError"
    assert "in echo" in str(event.attributes["exception.stacktrace"])


@each_place
async def test_the_end_of_a_session_is_no_error_of_the_span(place: Any, spans: Spans) -> None:
    async def handle(session: Any) -> None:
        while True:
            await session.send(await session.receive())

    async with serving(application(place(handle))) as served, served.peer() as peer:
        await peer.open("/chat/lobby")
        peer.reset()
        await served.idle()
        await eventually(lambda: spans.of_the_server)
    (span,) = spans.of_the_server
    assert (span.status.status_code, span.events) == (StatusCode.UNSET, ())


@each_place
async def test_a_span_continues_the_trace_of_the_client(place: Any, spans: Spans) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    async with serving(application(place(echo))) as served, served.peer() as peer:
        await peer.open("/chat/lobby", {"Traceparent": f"00-{trace_id}-b7ad6b7169203331-01"})
        await peer.finish()
        await peer.close()
        await served.idle()
        await eventually(lambda: spans.of_the_server)
    (span,) = spans.of_the_server
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" == trace_id


@each_place
async def test_a_refused_handshake(place: Any, spans: Spans) -> None:
    async with serving(application(place(echo))) as served:
        assert (await served.ask("/chat/lobby", {"Origin": "https://elsewhere.example"})).status == 403
    (span,) = spans.of_the_server
    assert span.attributes is not None
    assert span.attributes["http.status_code"] == 403
    assert span.status.status_code is StatusCode.UNSET


async def test_a_task_of_the_session(spans: Spans) -> None:
    async def push(session: Any) -> None:
        with spans.tracer.start_as_current_span("push"):
            await session.send("tick")

    async def handle(session: Any) -> None:
        session.create_task(push(session))
        await echo(session)

    async with serving(application(managed_route(handle))) as served, served.peer() as peer:
        await peer.open("/chat/lobby")
        assert await peer.frame() == (TEXT, b"tick")
        await peer.finish()
        await peer.close()
        await served.idle()
        await eventually(lambda: spans.of_the_server)
    assert spans.named("push").parent == spans.of_the_server[0].context


async def test_the_span_of_a_returned_upgrade_is_over(spans: Spans) -> None:
    recording: list[bool] = []

    async def handle(session: Any) -> None:
        recording.append(trace.get_current_span().is_recording())
        await echo(session)

    async with serving(application(returned(handle))) as served, served.peer() as peer:
        await peer.open("/chat/lobby")
        await eventually(lambda: spans.of_the_server)
        await peer.finish()
        await peer.close()
        await served.idle()
    assert recording == [False]


@pytest.mark.loops("asyncio")
async def test_an_application_that_was_made_before_it_was_instrumented() -> None:
    app = web.Application()
    instrumentor = AioHttpServerInstrumentor()
    with pytest.warns(DeprecationWarning, match="Inheritance"):
        instrumentor.instrument()
    try:
        rawws.setup(app)
    finally:
        instrumentor.uninstrument()
    with pytest.raises(TypeError, match=r"web\.Application"):
        rawws.setup(app.router)  # type: ignore[arg-type]


# ---- Sentry -------------------------------------------------------------------------------


class Reports(Transport):
    """What would have been sent to Sentry."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Any] = []
        self.transactions: list[Any] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        event, transaction = envelope.get_event(), envelope.get_transaction_event()
        if event is not None:
            self.events.append(event)
        if transaction is not None:
            self.transactions.append(transaction)


@pytest.fixture
def reports() -> Iterator[Reports]:
    reports = Reports()
    sentry_sdk.init(
        dsn="http://key@127.0.0.1/1",
        transport=reports,
        traces_sample_rate=1.0,
        integrations=[AioHttpIntegration(), LoggingIntegration(), DedupeIntegration()],
        # No more of them, and no threads: what they patch stays patched for the rest of this process.
        default_integrations=False,
        auto_enabling_integrations=False,
        auto_session_tracking=False,
        enable_backpressure_handling=False,
    )
    yield reports
    sentry_sdk.get_client().close()
    sentry_sdk.get_global_scope().set_client(None)


@each_place
@pytest.mark.parametrize("plugin", [True, False])
async def test_an_error_is_one_event_with_its_request(
    place: Any, plugin: bool, reports: Reports, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(session: Any) -> None:
        sentry_sdk.set_tag("room", session.request.match_info["room"])
        await echo(session)

    await fail(application(place(handle), plugin=plugin), "/chat/lobby?token=x")
    await eventually(lambda: reports.transactions)
    (event,) = reports.events
    assert event["request"]["url"].startswith("http://127.0.0.1")
    assert event["request"]["url"].endswith("/chat/lobby")
    assert event["request"]["method"] == "GET"
    assert event["tags"]["room"] == "lobby"
    (exception,) = event["exception"]["values"]
    assert (exception["type"], exception["value"]) == ("ZeroDivisionError", "on demand")
    functions = [entry["function"] for entry in exception["stacktrace"]["frames"]]
    assert functions[-2:] == ["handle", "echo"]
    if plugin:
        assert event["logger"] == "aiohttp_rawws"
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1
    (transaction,) = reports.transactions
    assert event["contexts"]["trace"]["trace_id"] == transaction["contexts"]["trace"]["trace_id"]


@each_place
async def test_a_transaction_lasts_as_long_as_the_session(place: Any, reports: Reports) -> None:
    async def handle(session: Any) -> None:
        await echo(session)
        with sentry_sdk.start_span(op="db", name="at the end"):
            await asyncio.sleep(0)

    async with serving(application(place(handle))) as served, served.peer() as peer:
        await peer.open("/chat/lobby")
        await peer.send(frame(TEXT, b"hello"))
        assert await peer.frame() == (TEXT, b"hello")
        assert not reports.transactions
        await peer.finish()
        await peer.close()
        await served.idle()
        await eventually(lambda: reports.transactions)
    (transaction,) = reports.transactions
    assert transaction["transaction"].endswith(".handle")
    assert [span["description"] for span in transaction["spans"]] == ["at the end"]
    assert not reports.events


async def test_the_scopes_of_sessions_are_apart(reports: Reports) -> None:
    opened = asyncio.Event()

    async def handle(session: Any) -> None:
        sentry_sdk.set_tag(session.request.match_info["room"], "yes")
        if session.request.match_info["room"] == "b":
            opened.set()
        await opened.wait()
        raise ZeroDivisionError(session.request.match_info["room"])

    async with serving(application(managed_route(handle))) as served, served.peer() as one, served.peer() as other:
        await one.open("/chat/a")
        await other.open("/chat/b")
        for peer in one, other:
            await peer.closed_by_server(1011)
            await peer.send(close_frame(1011))
            await peer.close()
        await served.idle()
    assert sorted((event["request"]["url"][-1], *event["tags"]) for event in reports.events) == [("a", "a"), ("b", "b")]


async def test_what_is_no_event(reports: Reports) -> None:
    async def handle(session: Any) -> None:
        while True:
            await session.send((await session.receive()).text)

    async with serving(application(managed_route(handle))) as served:
        async with served.peer() as peer:
            await peer.open("/chat/lost")
            peer.reset()
        async with served.peer() as peer:
            await peer.open("/chat/violation")
            await peer.send(b"\x8f\x00")
            await peer.closed_by_server(1002)
        async with served.peer() as peer:
            await peer.open("/chat/payload")
            await peer.send(frame(TEXT, b"\xff"))
            await peer.closed_by_server(1007)
        assert (await served.ask("/chat/refused", {"Origin": "https://elsewhere.example"})).status == 403
        await served.idle()
    assert not reports.events


async def test_an_error_of_a_returned_upgrade_has_no_request(reports: Reports) -> None:
    """It is outside of aiohttp's handler, and so of the scope."""
    await fail(application(returned(echo)))
    (event,) = reports.events
    assert event["exception"]["values"][0]["type"] == "ZeroDivisionError"
    assert "url" not in event.get("request", {})
