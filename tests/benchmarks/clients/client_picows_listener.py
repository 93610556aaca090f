"""The core of picows: a listener that is called per frame, and answers in place."""

from __future__ import annotations

import sys

from echoing import Counter, run
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

ON_FASTNET = any("aiofastnet" in argument for argument in sys.argv)


class Talking(WSListener):
    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self.counter = counter

    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.BINARY, self.counter.payload)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.counter.answers += 1
        if self.counter.is_over:
            transport.disconnect()
        else:
            transport.send(WSMsgType.BINARY, self.counter.payload)


async def talk(url: str, counter: Counter) -> None:
    transport, _ = await ws_connect(lambda: Talking(counter), url, use_aiofastnet=ON_FASTNET)
    await transport.wait_disconnected()


run(talk, "picows")
