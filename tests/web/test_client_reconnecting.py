"""``reconnecting()`` (C30): exponential with full jitter, follows Retry-After, gives up on 4xx but 408, 425 and 429,
fresh headers for each try, and delays that begin anew only after a stable while."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import aiohttp
import pytest

import aiohttp_rawws as rawws
from aiohttp_rawws import CloseReason, HandshakeError, HandshakeRefused, backoff, reconnecting, transient

from ..tools.hand_server import HandPeer, hand_server
from ..tools.peers import CLOSE, TEXT, frame
from ..tools.waiting import eventually

RECEIVE = 20.0


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client_session:
        yield client_session


def at_once() -> Iterator[float]:
    return itertools.repeat(0.0)


async def greet(peer: HandPeer) -> None:
    """Say hello, then close."""
    await peer.accept(early=frame(TEXT, b"hello", mask=None) + frame(CLOSE, b"\x03\xe9", mask=None))
    assert (await peer.frame_of_client())[0] == 0x80 | CLOSE


async def refusing(peer: HandPeer, status: str, **fields: str) -> None:
    await peer.request()
    await peer.refuse(status, {"Content-Length": "0", "Connection": "close", **fields})


# ---- the policy ---------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 407, 426, 431])
def test_c30_gives_up(status: int) -> None:
    """A status that the next try would get, too."""
    assert transient(HandshakeRefused(status, "")) is None


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_c30_tries_again(status: int) -> None:
    """A status that may be another one later."""
    assert transient(HandshakeRefused(status, "")) == 0.0


def test_c30_errors() -> None:
    """Network errors pass, faults of the server or of the caller do not."""
    assert transient(ConnectionRefusedError()) == 0.0
    assert transient(asyncio.TimeoutError()) == 0.0
    assert transient(aiohttp.ServerDisconnectedError()) == 0.0
    assert transient(CloseReason(1006)) == 0.0
    assert transient(CloseReason(1000)) == 0.0
    assert transient(HandshakeError(502, "Sec-WebSocket-Accept")) is None
    assert transient(aiohttp.InvalidURL("x")) is None


def test_c30_retry_after() -> None:
    """Seconds or a date; what is neither counts as nothing; at most a day."""

    def after(value: str) -> float | None:
        refused = HandshakeRefused(503, "")
        refused.headers["Retry-After"] = value
        return refused.retry_after

    assert HandshakeRefused(503, "").retry_after is None
    assert (after("0"), after(" 7 "), after("99999999999999999999")) == (0.0, 7.0, 86400.0)
    assert (after("9" * 400), after("9" * 5000), after("0" * 5000)) == (86400.0, 86400.0, 0.0)
    assert (after("-1"), after("soon"), after(""), after("1.5")) == (None, None, None, None)
    soon = after(format_datetime(datetime.now(timezone.utc) + timedelta(seconds=100), usegmt=True))
    assert soon is not None and 80 < soon <= 100
    assert after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    refused = HandshakeRefused(429, "")
    refused.headers["Retry-After"] = "7"
    assert transient(refused) == 7.0


def test_c30_full_jitter() -> None:
    """Delays are random between 0 and a limit that doubles up to a minute."""
    runs = [list(itertools.islice(backoff(), 12)) for _ in range(300)]
    for number, limit in enumerate([1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]):
        column = [run[number] for run in runs]
        assert 0 <= min(column) < limit * 0.2 and limit * 0.8 < max(column) <= limit


# ---- the loop -----------------------------------------------------------------------------


@pytest.mark.parametrize("managed", [True, False], ids=["managed", "raw"])
async def test_c30_one_session_after_the_other(http: aiohttp.ClientSession, managed: bool) -> None:
    """Leaving the body of the loop closes the session and opens the next."""
    texts = []
    async with hand_server(greet) as server:
        async for session in reconnecting(http, server.url, managed=managed, delays=at_once):  # type: ignore[call-overload]
            texts.append((await session.receive(RECEIVE)).text)
            if len(texts) == 3:
                break
        del session
        await eventually(lambda: not server.open)
        assert texts == ["hello"] * 3 and server.connections == 3


async def test_c30_refusals_and_fresh_headers(http: aiohttp.ClientSession) -> None:
    """A refusal that is temporary is tried again, each time with the headers of then."""
    tokens: list[str] = []
    made = itertools.count()

    async def script(peer: HandPeer) -> None:
        fields = await peer.request()
        tokens.append(fields["Authorization"])
        if len(tokens) < 3:
            await peer.refuse("503 Busy", {"Content-Length": "0"})
        else:
            await peer.send(peer.head())
            await peer.read_to_end()

    async def headers() -> dict[str, str]:
        return {"Authorization": f"token {next(made)}"}

    async with hand_server(script) as server:
        async with contextlib.aclosing(reconnecting(http, server.url, headers=headers, delays=at_once)) as sessions:
            async for session in sessions:
                assert session.response.status == 101
                session.abort()
                break
    assert tokens == ["token 0", "token 1", "token 2"]


async def test_c30_gives_up_with_the_refusal(http: aiohttp.ClientSession) -> None:
    """What the next try would get, too, is raised."""

    async def script(peer: HandPeer) -> None:
        await refusing(peer, "401 Unauthorized")

    async with hand_server(script) as server:
        with pytest.raises(HandshakeRefused, match="401"):
            async for _ in reconnecting(http, server.url, delays=at_once):
                raise AssertionError
        assert server.connections == 1


async def test_c30_gives_up_when_delays_end(http: aiohttp.ClientSession) -> None:
    """An iterator of delays that ends limits the number of tries."""

    async def script(peer: HandPeer) -> None:
        await refusing(peer, "503 Busy")

    async with hand_server(script) as server:
        with pytest.raises(HandshakeRefused, match="503"):
            async for _ in reconnecting(http, server.url, delays=lambda: iter([0.0, 0.0])):
                raise AssertionError
        assert server.connections == 3


async def test_c30_again_of_the_caller(http: aiohttp.ClientSession) -> None:
    """The caller decides what to do about a close code."""
    seen: list[object] = []

    def again(end: Exception | CloseReason) -> float | None:
        seen.append(end)
        return None if len(seen) == 2 else 0.0

    async with hand_server(greet) as server:
        async for session in reconnecting(http, server.url, again=again, delays=at_once):
            async for message in session:
                assert message.text == "hello"
    assert seen == [CloseReason(1001)] * 2


async def test_c30_the_log_has_no_secrets(caplog: pytest.LogCaptureFixture) -> None:
    """The line about a failed try names the URL without query and password, which are in the errors of aiohttp."""

    async def script(peer: HandPeer) -> None:
        await refusing(peer, "502 Bad\x1b[31m")

    caplog.set_level("INFO", "aiohttp_rawws")
    async with aiohttp.ClientSession() as http, hand_server(script) as server:
        proxy = f"http://user:secret@127.0.0.1:{server.port}"
        for scheme in ("ws", "wss"):  # the proxy answers to GET and to CONNECT
            url = f"{scheme}://user:secret@example.org/feed?token=secret"
            with pytest.raises((HandshakeRefused, aiohttp.ClientHttpProxyError)):
                async for _ in reconnecting(http, url, proxy=proxy, delays=lambda: iter([0.0])):
                    raise AssertionError
    lines = [record.getMessage() for record in caplog.records]
    assert "ws://example.org/feed" in lines[0] and "wss://example.org/feed" in lines[1]
    assert len(lines) == 2 and all("502 Bad" in line and line.isprintable() for line in lines)
    assert not [line for line in lines if "secret" in line or "Authorization" in line]


async def test_c30_waits_as_long_as_the_server_asks(http: aiohttp.ClientSession) -> None:
    """Retry-After is the least delay."""
    times: list[float] = []

    async def script(peer: HandPeer) -> None:
        times.append(asyncio.get_running_loop().time())
        if len(times) == 1:
            await refusing(peer, "429 Slow down", **{"Retry-After": "1"})
        else:
            await greet(peer)

    async with hand_server(script) as server:
        async for session in reconnecting(http, server.url, delays=at_once):
            await session.receive(RECEIVE)
            break
        del session
        await eventually(lambda: not server.open)
    assert times[1] - times[0] >= 0.99


async def test_c30_delays_begin_anew_after_a_stable_while(http: aiohttp.ClientSession) -> None:
    """A session that lasts less than ``stable_after`` does not reset the delays."""
    made = 0

    def delays() -> Iterator[float]:
        nonlocal made
        made += 1
        return itertools.repeat(0.0)

    async with hand_server(greet) as server:
        for stable_after, expected in ((3600.0, 1), (0.02, 4)):
            made = count = 0
            async for session in reconnecting(http, server.url, delays=delays, stable_after=stable_after):
                await session.receive(RECEIVE)
                await asyncio.sleep(0.1)
                count += 1
                if count == 4:
                    break
            del session
            await eventually(lambda: not server.open)
            assert made == expected


@pytest.mark.parametrize("managed", [True, False], ids=["managed", "raw"])
@pytest.mark.parametrize("how", ["break", "exception", "aclosing"])
async def test_c30_leaving_the_loop_closes_the_session(managed: bool, how: str) -> None:
    """The server gets a Close with 1000, also if the ClientSession is closed right after the loop."""
    codes: list[bytes] = []

    async def script(peer: HandPeer) -> None:
        await peer.accept()
        first, payload = await peer.frame_of_client()
        assert first == 0x80 | CLOSE
        codes.append(payload)

    async def use() -> None:
        async with aiohttp.ClientSession() as http:
            if how == "aclosing":
                async with contextlib.aclosing(reconnecting(http, server.url, managed=managed)) as sessions:  # type: ignore[call-overload]
                    async for _ in sessions:
                        break
                return
            async for _ in reconnecting(http, server.url, managed=managed):  # type: ignore[call-overload]
                if how == "exception":
                    raise LookupError
                break

    async with hand_server(script) as server:
        with contextlib.suppress(LookupError):
            await use()
        await eventually(lambda: codes)
        assert codes == [b"\x03\xe8"] and server.connections == 1


@pytest.mark.parametrize("managed", [True, False], ids=["managed", "raw"])
@pytest.mark.parametrize("where", ["connecting", "waiting", "inside", "closing"])
async def test_c30_cancelled(http: aiohttp.ClientSession, where: str, managed: bool) -> None:
    """Cancelled anywhere, it leaves nothing."""

    async def script(peer: HandPeer) -> None:
        if where == "connecting":
            await peer.read_to_end()
        elif where == "waiting":
            await refusing(peer, "503 Busy")
        else:
            await peer.accept()
            await peer.read_to_end()

    async def use() -> None:
        delays, close_timeout = (lambda: itertools.repeat(3600.0)), 3600.0 if where == "closing" else 1.0
        options: Any = {"managed": managed, "delays": delays, "close_timeout": close_timeout}
        async for session in reconnecting(http, server.url, **options):
            if where != "closing":
                await session.receive()

    async with hand_server(script) as server:
        task = asyncio.create_task(use())
        await eventually(lambda: server.connections)
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        await eventually(lambda: not server.open)
        assert server.connections == 1


async def test_c30_ends_with_the_client_session() -> None:
    """The loop ends when the ClientSession is closed."""
    async with hand_server(greet) as server:
        http = aiohttp.ClientSession()
        count = 0
        async for session in reconnecting(http, server.url, delays=at_once):
            await session.receive(RECEIVE)
            count += 1
            await http.close()
        assert count == 1


@pytest.mark.parametrize("where", ["connecting", "waiting"])
async def test_c30_ends_with_the_client_session_between_sessions(where: str) -> None:
    """It also ends, and raises nothing, if the ClientSession is closed while no session is open."""

    async def script(peer: HandPeer) -> None:
        await peer.request()
        if where == "waiting":
            await peer.refuse("503 Busy", {"Content-Length": "0", "Retry-After": "3600"})
        await peer.read_to_end()

    async def use() -> None:
        async for _ in reconnecting(http, server.url):
            raise AssertionError

    async with hand_server(script) as server:
        http = aiohttp.ClientSession()
        task = asyncio.create_task(use())
        await eventually(lambda: server.connections)
        await asyncio.sleep(0.2)
        await http.close()
        await asyncio.wait_for(task, RECEIVE)
        with pytest.raises(RuntimeError, match="Session is closed"):  # it was closed before: a mistake
            await use()


async def test_c30_headers_that_cannot_be_had(http: aiohttp.ClientSession) -> None:
    """A network error of the function for the headers counts as a failed try. Any other error is raised."""
    errors: list[Exception] = [
        OSError("no network"),
        aiohttp.ClientPayloadError(),
        asyncio.TimeoutError(),
        LookupError(),
    ]
    seen: list[object] = []

    async def headers() -> dict[str, str]:
        raise errors[len(seen)]

    def again(end: Exception | CloseReason) -> float:
        seen.append(end)
        return 0.0

    with pytest.raises(LookupError):
        async for _ in reconnecting(http, "ws://127.0.0.1:1/", headers=headers, again=again, delays=at_once):
            raise AssertionError
    assert seen == errors[:3]


async def test_c30_an_exception_of_the_body(http: aiohttp.ClientSession) -> None:
    """An exception in the body of the loop goes on, and the session is closed."""
    async with hand_server(greet) as server:
        with pytest.raises(LookupError):
            async for session in reconnecting(http, server.url, delays=at_once):
                await session.receive(RECEIVE)
                raise LookupError
        del session
        await eventually(lambda: not server.open)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"delays": 5}, TypeError),
        ({"again": None}, TypeError),
        ({"stable_after": None}, TypeError),
        ({"stable_after": -1}, ValueError),
        ({"managed": 1}, TypeError),
        ({"headers": {"Upgrade": "x"}}, ValueError),
        ({"max_frame_size": 0}, ValueError),
        ({"retries": 5}, TypeError),
    ],
)
async def test_c30_options_are_checked_at_the_call(
    http: aiohttp.ClientSession, options: dict[str, Any], error: type[Exception]
) -> None:
    """Mistakes are found before the first try."""
    with pytest.raises(error):
        reconnecting(http, "ws://127.0.0.1:1/", **options)


def test_c30_names() -> None:
    assert {"backoff", "reconnecting", "transient"} <= set(rawws.__all__)
