"""The core of picows: a listener that is called per frame."""

from __future__ import annotations

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server
from serving import BACKLOG, HOST, LARGE, arguments, serve


class Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())


def listener(request: WSUpgradeRequest) -> Echo:
    return Echo()


async def start() -> int:
    # It would take aiofastnet wherever that is installed, and all loops would be one.
    server = await ws_create_server(
        listener,
        HOST,
        0,
        max_frame_size=LARGE,
        use_aiofastnet="aiofastnet" in arguments().loop,
        backlog=BACKLOG,
    )
    return int(server.sockets[0].getsockname()[1])


serve(start, "picows")
