"""Raw echo: type a message and see every frame that the server saw, pings included.

The page opens two sockets. ``/raw-echo/socket/KEY`` is the echo. ``/raw-echo/watch/KEY`` reports the frames of the echo
to the page. It also takes orders for things that a browser cannot do: send a ping, cut a message into fragments, close
with any code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress

from aiohttp import web

import aiohttp_rawws as rawws
from aiohttp_rawws import Frame, Opcode

from . import site

PATH = "/raw-echo"
TITLE = "Raw echo"
SUMMARY = "Type a message and see every frame that the server saw: opcode, bits, masking key, payload."

SHOWN = 256  # payload bytes that a report shows

routes = rawws.RouteTableDef()
routes.get(PATH)(site.page("raw_echo.html"))


# The echo: a raw session. We receive control frames, fragments stay separate, and we do the closing handshake.


@routes.websocket_raw(PATH + "/socket/{key}")
async def echo(session: rawws.WebSocketServerSession) -> None:
    watch = session.app[WATCHES].get(session.request.match_info["key"], Watch())
    watch.echo = session

    async for frame in session:
        await watch.report("received", frame)
        if frame.opcode is Opcode.PING:
            await watch.send(session, Frame.pong(frame.payload))
        elif frame.opcode is Opcode.PONG:
            pass  # it answers a ping of ours
        elif frame.opcode is Opcode.CLOSE:
            if session.close_state.sent is None:  # otherwise it answers a Close of ours
                await watch.send(session, Frame(Opcode.CLOSE, frame.payload))
        else:
            for piece in cut(frame, watch.pieces):
                await watch.send(session, piece)

    await watch.report_end(session)


def cut(frame: Frame, pieces: int) -> Iterator[Frame]:
    """Cut ``frame`` into fragments: all but the first have opcode 0, all but the last have no fin."""
    size = max(1, -(-len(frame.payload) // pieces))
    starts = range(0, len(frame.payload), size) or [0]
    for start in starts:
        opcode = Opcode.CONTINUATION if start else frame.opcode
        fin = frame.fin and start == starts[-1]
        yield Frame(opcode, frame.payload[start : start + size], fin=fin, kind=frame.kind)


# The reports to the page, and its orders: a second raw session, which sends and receives JSON.


class Watch:
    """The state of one page. ``viewer`` is the session of its reports; None if a client came without a page."""

    def __init__(self, viewer: rawws.WebSocketServerSession | None = None) -> None:
        self.viewer = viewer
        self.echo: rawws.WebSocketServerSession | None = None
        self.pieces = 1

    async def send(self, session: rawws.WebSocketServerSession, frame: Frame) -> None:
        await session.send(frame)
        await self.report("sent", frame)

    async def report(self, direction: str, frame: Frame) -> None:
        await self.show(
            direction=direction,
            opcode=int(frame.opcode),
            name=frame.opcode.name,
            fin=frame.fin,
            rsv=[frame.rsv1, frame.rsv2, frame.rsv3],
            length=len(frame.payload),
            masking_key=frame.masking_key.hex(" ") if frame.masking_key else None,
            hex=frame.payload[:SHOWN].hex(" "),
            text=readable(frame),
        )

    async def report_end(self, session: rawws.WebSocketServerSession) -> None:
        state = session.close_state
        await self.show(
            direction="ended",
            first=state.first,
            received=state.received and state.received.code,
            sent=state.sent and state.sent.code,
        )

    async def show(self, **report: object) -> None:
        if self.viewer is not None:
            with suppress(rawws.SessionClosed):  # the page is gone; the echo goes on
                await self.viewer.send(json.dumps(report))


WATCHES = web.AppKey("WATCHES", dict[str, Watch])


@routes.websocket_raw(PATH + "/watch/{key}", max_frame_size=4096)
async def watch(session: rawws.WebSocketServerSession) -> None:
    key = session.request.match_info["key"]
    watch = session.app[WATCHES][key] = Watch(session)
    try:
        async for frame in session:
            if frame.opcode is Opcode.TEXT:
                try:
                    await obey(watch, json.loads(frame.text))
                except (KeyError, TypeError, ValueError) as error:
                    await watch.show(direction="refused", why=str(error))
            elif frame.opcode is Opcode.PING:
                await session.send(Frame.pong(frame.payload))
            elif frame.opcode is Opcode.CLOSE:
                await session.close()  # does nothing if we sent a Close before
    finally:
        if session.app[WATCHES].get(key) is watch:
            del session.app[WATCHES][key]


async def obey(watch: Watch, order: dict[str, object]) -> None:
    if order["do"] == "cut":
        watch.pieces = min(max(int(str(order["pieces"])), 1), 16)
        return
    if order["do"] == "ping":
        frame = Frame.ping(str(order["payload"]).encode())
    elif order["do"] == "close":
        frame = Frame.close(int(str(order["code"])), str(order["reason"]))
    else:
        raise ValueError(f"no such order: {order['do']}")
    if watch.echo is not None:
        with suppress(rawws.SessionClosed):
            await watch.send(watch.echo, frame)


def readable(frame: Frame) -> str | None:
    if frame.kind is Opcode.BINARY:
        return None
    if frame.opcode is Opcode.CLOSE:
        reason = frame.close_reason
        return f"{reason.code} {reason.message}".rstrip() if reason else "no code"
    return frame.payload[:SHOWN].decode("utf-8", "replace")


def install(app: web.Application) -> None:
    """Add the demo to an application. Call ``rawws.setup()`` on it first."""
    app[WATCHES] = {}
    app.add_routes(routes)


def init(argv: list[str] | None = None) -> web.Application:
    """Make an application with this demo alone. ``python -m aiohttp.web`` calls this."""
    app = site.new_application()
    rawws.setup(app)
    app.router.add_get("/", site.redirect(PATH))
    install(app)
    return app


if __name__ == "__main__":
    site.run(init(), __doc__)
