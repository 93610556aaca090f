"""Clients that are not ours against the managed and the raw echo, with and without compression."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
import websockets
from aiohttp import WSMsgType, web

from ..autobahn.server import application

pytestmark = pytest.mark.interop

SIZES = (0, 1, 125, 126, 65535, 65536, 300_000)
TEXTS = ["", "Grüße, 世界! 🙂", *("ab" * (size // 2) for size in SIZES)]
PATHS = ["/", "/plain", "/raw"]


@pytest.fixture
async def address() -> AsyncIterator[str]:
    runner = web.AppRunner(application(), access_log=None, shutdown_timeout=5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"ws://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def binary(size: int) -> bytes:
    return (bytes(range(256)) * (size // 256 + 1))[:size]


@pytest.mark.parametrize("compression", [None, "deflate"], ids=["plain", "deflate"])
@pytest.mark.parametrize("path", PATHS)
class TestWebsockets:
    async def test_messages(self, address: str, path: str, compression: str | None) -> None:
        async with websockets.connect(address + path, compression=compression, max_size=None) as client:
            assert bool(client.protocol.extensions) is (path == "/" and compression is not None)
            messages: list[str | bytes] = [*TEXTS, *map(binary, SIZES)]
            for message in messages:
                await client.send(message)
                assert await client.recv() == message

    async def test_fragments_and_pings_between_them(self, address: str, path: str, compression: str | None) -> None:
        async with websockets.connect(address + path, compression=compression) as client:

            async def parts() -> AsyncIterator[str]:
                for part in ("Gr", "ü", "", "ße" * 1000):
                    yield part
                    await asyncio.wait_for(await client.ping(), 20)

            await client.send(parts())
            assert await client.recv() == "Grü" + "ße" * 1000

    async def test_many_at_once(self, address: str, path: str, compression: str | None) -> None:
        async with websockets.connect(address + path, compression=compression) as client:
            messages = [f"message {number} " * (number % 50) for number in range(500)]

            async def send() -> None:
                for message in messages:
                    await client.send(message)

            sending = asyncio.create_task(send())
            assert [await client.recv() for _ in messages] == messages
            await sending

    @pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "away"), (4000, "ö" * 61)])
    async def test_closing(self, address: str, path: str, compression: str | None, code: int, reason: str) -> None:
        client = await websockets.connect(address + path, compression=compression)
        await client.close(code, reason)
        assert client.close_code == code

    async def test_text_that_is_none(self, address: str, path: str, compression: str | None) -> None:
        async with websockets.connect(address + path, compression=compression) as client:
            await client.send(b"\xff\xfe", text=True)
            with pytest.raises(websockets.ConnectionClosedError) as caught:
                await client.recv()
        # A raw session does not look at text: it comes back, and the client complains.
        closed = caught.value
        assert closed.sent is not None and closed.sent.code == 1007
        assert bool(closed.rcvd_then_sent) is (path != "/raw")


@pytest.mark.parametrize("compress", [0, 15], ids=["plain", "deflate"])
@pytest.mark.parametrize("path", PATHS)
class TestAiohttp:
    async def test_messages(self, address: str, path: str, compress: int) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(address + path, compress=compress, max_msg_size=0) as client,
        ):
            assert bool(client.compress) is (path == "/" and compress > 0)
            for text in TEXTS:
                await client.send_str(text)
                assert await client.receive_str() == text
            for size in SIZES:
                await client.send_bytes(binary(size))
                assert await client.receive_bytes() == binary(size)

    async def test_pings(self, address: str, path: str, compress: int) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(address + path, compress=compress, autoping=False) as client,
        ):
            for payload in (b"", b"hello", b"x" * 125):
                await client.ping(payload)
                answer = await client.receive()
                assert (answer.type, answer.data) == (WSMsgType.PONG, payload)

    async def test_closing(self, address: str, path: str, compress: int) -> None:
        async with aiohttp.ClientSession() as session:
            client = await session.ws_connect(address + path, compress=compress)
            await client.close(code=4001, message=b"enough")
            assert client.close_code == 4001

    async def test_many_clients(self, address: str, path: str, compress: int) -> None:
        async with aiohttp.ClientSession() as session:

            async def talk(name: int) -> None:
                async with session.ws_connect(address + path, compress=compress) as client:
                    for number in range(20):
                        text = f"{name}:{number} " * name
                        await client.send_str(text)
                        assert await client.receive_str() == text

            await asyncio.gather(*map(talk, range(1, 31)))
