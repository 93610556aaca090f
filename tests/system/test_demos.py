"""Each demo runs alone, both ways its users start it, and answers over a real socket."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from demos.__main__ import DEMOS

from ..tools.serving import ROOT, serve

NAMES = [demo.__name__ for demo in DEMOS]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def ways(name: str) -> dict[str, list[str]]:
    return {
        "alone": ["-m", name, "--port", "0"],
        "by aiohttp": ["-m", "aiohttp.web", "-H", "127.0.0.1", "-P", free_port(), f"{name}:init"],
    }


async def fetch(url: str) -> tuple[int, str, str]:
    async with aiohttp.ClientSession() as client, client.get(url) as response:
        return response.status, response.url.path, await response.text()


@pytest.mark.parametrize("way", ["alone", "by aiohttp"])
@pytest.mark.parametrize("name", NAMES)
def test_demo_starts_and_shows_its_page(name: str, way: str) -> None:
    demo = next(demo for demo in DEMOS if demo.__name__ == name)
    with serve(*ways(name)[way]) as address:
        status, path, text = asyncio.run(fetch(address))
    assert (status, path) == (200, demo.PATH)
    assert demo.TITLE in text


def test_index_links_every_demo() -> None:
    async def look(address: str) -> None:
        status, _, text = await fetch(address)
        assert status == 200
        for demo in DEMOS:
            assert f'href="{demo.PATH}"' in text
            assert (await fetch(address + demo.PATH))[0] == 200

    with serve("-m", "demos", "--port", "0") as address:
        asyncio.run(look(address))


def test_a_port_in_use_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = subprocess.run(
            [sys.executable, "-m", "demos", "--port", port], cwd=ROOT, capture_output=True, text=True, timeout=20
        )
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"cannot listen on 127.0.0.1, port {port}: ")
    assert ended.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serve("-m", "demos.raw_echo", "--port", "0") as address:
        yield address.replace("http", "ws") + "/raw-echo"


@pytest.mark.loops("asyncio")
async def test_upload() -> None:
    """A file goes up as one message in one frame, and in fragments, and comes back."""
    payload = random.Random(1).randbytes(3 * 2**20)
    with serve("-m", "demos.upload", "--port", "0") as address:
        async with connect(address.replace("http", "ws") + "/upload/socket", max_size=None) as peer:
            for parts in ([payload], [payload[:1000], b"", payload[1000:]], [b""]):
                await peer.send("upload")
                await peer.send(parts if len(parts) > 1 else parts[0])
                report: dict[str, Any] = {}
                while "sha256" not in report:
                    report = json.loads(await asyncio.wait_for(peer.recv(), 20))
                size = sum(map(len, parts))
                assert report["received"] == size
                assert report["sha256"] == hashlib.sha256(payload[:size]).hexdigest()
                await peer.send("download")
                assert await asyncio.wait_for(peer.recv(), 20) == payload[:size]


class TestRawEcho:
    """The page's two sockets, driven by the ``websockets`` client."""

    @staticmethod
    async def reports(viewer: Any, count: int) -> list[dict[str, Any]]:
        return [json.loads(await asyncio.wait_for(viewer.recv(), 20)) for _ in range(count)]

    @pytest.mark.loops("asyncio")
    async def test_message(self, address: str) -> None:
        async with connect(address + "/watch/a") as viewer, connect(address + "/socket/a") as peer:
            await peer.send("Grüße")
            assert await peer.recv() == "Grüße"
            received, sent = await self.reports(viewer, 2)
        assert received["direction"] == "received"
        assert (received["opcode"], received["name"], received["fin"]) == (1, "TEXT", True)
        assert (received["rsv"], received["length"], received["text"]) == ([False] * 3, 7, "Grüße")
        assert received["hex"] == "Grüße".encode().hex(" ")
        assert len(bytes.fromhex(received["masking_key"])) == 4
        assert sent == {**received, "direction": "sent", "masking_key": None}

    @pytest.mark.loops("asyncio")
    async def test_ping_from_each_side(self, address: str) -> None:
        async with connect(address + "/watch/b") as viewer, connect(address + "/socket/b") as peer:
            await (await peer.ping(b"from here"))
            seen = await self.reports(viewer, 2)
            await viewer.send(json.dumps({"do": "ping", "payload": "from there"}))
            reading = asyncio.create_task(peer.recv())  # answers the ping
            seen += await self.reports(viewer, 2)
            reading.cancel()
        assert [(each["direction"], each["name"], each["text"]) for each in seen] == [
            ("received", "PING", "from here"),
            ("sent", "PONG", "from here"),
            ("sent", "PING", "from there"),
            ("received", "PONG", "from there"),
        ]

    @pytest.mark.loops("asyncio")
    async def test_fragments(self, address: str) -> None:
        async with connect(address + "/watch/c") as viewer, connect(address + "/socket/c") as peer:
            await viewer.send(json.dumps({"do": "cut", "pieces": 3}))
            await viewer.send(json.dumps({"do": "dance"}))
            refused = await self.reports(viewer, 1)  # orders are obeyed in turn: the cut was
            await peer.send(b"1234567")
            assert [part async for part in peer.recv_streaming()] == [b"123", b"456", b"7"]
            seen = await self.reports(viewer, 4)
        assert refused == [{"direction": "refused", "why": "no such order: dance"}]
        assert [(each["name"], each["fin"], each["length"]) for each in seen] == [
            ("BINARY", True, 7),
            ("BINARY", False, 3),
            ("CONTINUATION", False, 3),
            ("CONTINUATION", True, 1),
        ]

    @pytest.mark.loops("asyncio")
    async def test_peer_closes(self, address: str) -> None:
        async with connect(address + "/watch/d") as viewer, connect(address + "/socket/d") as peer:
            await peer.close(4001, "bye")
            seen = await self.reports(viewer, 3)
        assert (peer.close_code, peer.close_reason) == (4001, "bye")
        assert [(each["direction"], each["text"]) for each in seen[:2]] == [
            ("received", "4001 bye"),
            ("sent", "4001 bye"),
        ]
        assert seen[2] == {"direction": "ended", "first": "peer", "received": 4001, "sent": 4001}

    @pytest.mark.loops("asyncio")
    async def test_server_closes(self, address: str) -> None:
        async with connect(address + "/watch/e") as viewer, connect(address + "/socket/e") as peer:
            await viewer.send(json.dumps({"do": "close", "code": 1005, "reason": ""}))
            assert (await self.reports(viewer, 1))[0]["direction"] == "refused"
            await viewer.send(json.dumps({"do": "close", "code": 1001, "reason": "later"}))
            with pytest.raises(ConnectionClosed):
                await peer.recv()
            seen = await self.reports(viewer, 3)
        assert (peer.close_code, peer.close_reason) == (1001, "later")
        assert [(each["direction"], each["name"]) for each in seen[:2]] == [("sent", "CLOSE"), ("received", "CLOSE")]
        assert seen[2] == {"direction": "ended", "first": "local", "received": 1001, "sent": 1001}

    @pytest.mark.loops("asyncio")
    async def test_without_a_page(self, address: str) -> None:
        async with connect(address + "/socket/nobody") as peer:
            await peer.send("still an echo")
            assert await peer.recv() == "still an echo"
