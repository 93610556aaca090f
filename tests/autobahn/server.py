"""The echo servers under test, one process: ``python -m tests.autobahn.server [--loop uvloop]``.

``/`` is a managed session with permessage-deflate, ``/raw`` a raw one that does by hand what RFC 6455 asks of it.
The first line of stdout is a JSON object: where it listens, and the versions of what runs.
"""

from __future__ import annotations

from aiohttp import web

import aiohttp_rawws as rawws

from .serving import Started, our_versions, serve

routes = rawws.RouteTableDef()


@routes.websocket("/", max_frame_size=None, max_message_size=None, extensions=[rawws.PerMessageDeflate()])
async def managed(session: rawws.DefaultWebSocketServerSession) -> None:
    async for message in session:
        await session.send(message)


@routes.websocket("/plain", max_frame_size=None, max_message_size=None)
async def plain(session: rawws.DefaultWebSocketServerSession) -> None:
    """Without extensions; not for the suite, which has no opinion on that, but for the clients of other tests."""
    await managed(session)


@routes.websocket_raw("/raw", max_frame_size=None, on_violation="raise")
async def raw(session: rawws.WebSocketServerSession) -> None:
    """Sections 1-5, 7, 9 and 10: what is left out is what a raw handler may leave out, the check of text."""
    try:
        async for frame in session:
            match frame:
                case rawws.Frame(rsv1=True) | rawws.Frame(rsv2=True) | rawws.Frame(rsv3=True):
                    await session.close(rawws.CloseCode.PROTOCOL_ERROR, "no extension was negotiated")
                    return
                case rawws.Frame(rawws.Opcode.PING, payload):
                    await session.send(rawws.Frame.pong(payload))
                case rawws.Frame(rawws.Opcode.CLOSE):
                    await session.close(answer_to(frame))
                    return
                case rawws.Frame() if not frame.opcode.is_control:
                    await session.send(frame)
    except rawws.PeerError as error:  # behind the answers to the frames before
        await session.close_exceptionally(error)


def answer_to(close: rawws.Frame) -> rawws.CloseReason | int:
    """RFC 6455, section 7.4: what is well formed is sent back."""
    if not close.payload:
        return rawws.CloseCode.NORMAL
    if len(close.payload) == 1:
        return rawws.CloseCode.PROTOCOL_ERROR
    try:
        close.payload[2:].decode()
    except UnicodeDecodeError:
        return rawws.CloseCode.NOT_CONSISTENT
    reason = close.close_reason
    assert reason is not None
    try:
        rawws.Frame.close(reason)
    except ValueError:  # a code that may not cross the wire
        return rawws.CloseCode.PROTOCOL_ERROR
    return reason


def application() -> web.Application:
    app = web.Application()
    app.add_routes(routes)
    rawws.setup(app)
    return app


async def start(port: int) -> Started:
    runner = web.AppRunner(application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    return Started(runner.addresses[0][1], ["aiohttp"], our_versions())


if __name__ == "__main__":
    serve({"rawws": start})
