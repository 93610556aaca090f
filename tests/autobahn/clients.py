"""Echo clients, ours and those of the peers: ``python -m tests.autobahn.clients rawws ws://127.0.0.1:9001``.

Each is as its own documentation writes one, without a limit on sizes, and with compression. The first line of stdout is
a JSON object, the versions of what runs. Each case adds a line.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

import aiohttp_rawws as rawws

from .serving import our_versions, run_on, versions_of

Echo = Callable[[str], Awaitable[object]]
"""Connects to a URL, sends each message back, and returns at the end. Whatever it raises is the end, too."""

AGENT = "client"


@asynccontextmanager
async def our_echo() -> AsyncIterator[Echo]:
    options: Any = {"max_frame_size": None, "max_message_size": None, "extensions": [rawws.PerMessageDeflate()]}

    async def echo(url: str) -> None:
        async with rawws.connect(http, url, **options) as session:
            async for message in session:
                await session.send(message)

    async with aiohttp.ClientSession() as http:
        yield echo


@asynccontextmanager
async def aiohttp_echo() -> AsyncIterator[Echo]:
    async def echo(url: str) -> None:
        async with http.ws_connect(url, max_msg_size=0, compress=15) as socket:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    await socket.send_str(message.data)
                elif message.type is aiohttp.WSMsgType.BINARY:
                    await socket.send_bytes(message.data)

    async with aiohttp.ClientSession() as http:
        yield echo


async def echo_messages(connecting: Any) -> None:
    async with connecting as connection:
        async for message in connection:
            await connection.send(message)


@asynccontextmanager
async def websockets_echo() -> AsyncIterator[Echo]:
    import websockets.asyncio.client  # the peers are imported one by one: a run needs the one it is about

    yield lambda url: echo_messages(websockets.asyncio.client.connect(url, max_size=None, proxy=None))


@asynccontextmanager
async def picows_echo() -> AsyncIterator[Echo]:
    import picows.websockets

    yield lambda url: echo_messages(picows.websockets.connect(url, max_size=None, proxy=None))


CLIENTS = {"rawws": our_echo, "aiohttp": aiohttp_echo, "websockets": websockets_echo, "picows": picows_echo}


async def case_count(http: aiohttp.ClientSession, url: str) -> int:
    """The number of cases, as soon as the suite listens."""
    for _ in range(300):
        try:
            async with rawws.connect_raw(http, f"{url}/getCaseCount") as session:
                return int((await session.receive(60)).text)
        except aiohttp.ClientConnectorError:
            await asyncio.sleep(0.1)
    raise TimeoutError("the suite does not listen")


async def run_cases(echo: Echo, url: str, suite: str) -> None:
    """Run all cases at ``url``, one after the other, then let the suite write its report."""
    async with aiohttp.ClientSession() as http:
        count = await case_count(http, suite)
        for case in range(1, count + 1):
            print("case", case, flush=True)
            try:
                await echo(f"{url}/runCase?case={case}&agent={AGENT}")
            except Exception as exc:
                print(f"case {case}: {exc!r}", file=sys.stderr, flush=True)
        async with rawws.connect_raw(http, f"{suite}/updateReports?agent={AGENT}", open_timeout=300) as session:
            async for _ in session:
                pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("client", choices=[*CLIENTS])
    parser.add_argument("url", help="of the suite, or of a gateway in front of it")
    parser.add_argument("--suite", help="the URL of the suite, if that is another one")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    args = parser.parse_args()

    async def run() -> None:
        ours = args.client == "rawws"
        packages, facts = (["aiohttp"], our_versions()) if ours else ([args.client], {})
        print(versions_of(packages, facts, args.loop), flush=True)
        async with CLIENTS[args.client]() as echo:
            await run_cases(echo, args.url, args.suite or args.url)

    run_on(args.loop, run())


if __name__ == "__main__":
    main()
