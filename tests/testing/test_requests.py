"""Faults of the request of a client, and that they count."""

from __future__ import annotations

import asyncio

import pytest

from aiohttp_rawws import testing
from aiohttp_rawws.testing import Verdict
from aiohttp_rawws.testing.requests import faults_of_request

from ..tools.waiting import eventually

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def request(line: str = "GET /x HTTP/1.1", **changes: str | None) -> bytes:
    """A right request with changes: fields with ``_`` for ``-``, None for a field that is left out."""
    fields: dict[str, str | None] = {
        "Host": "h",
        "Upgrade": "websocket",
        "Connection": "keep-alive, Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
    }
    fields |= {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [line, *(f"{name}: {value}" for name, value in fields.items() if value is not None)]
    return "\r\n".join([*lines, "", ""]).encode()


RIGHT = request()
NOT_A_KEY = "a Sec-WebSocket-Key that is not the Base64 of 16 bytes (section 4.1)"


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (RIGHT, []),
        (RIGHT.replace(b"Sec-WebSocket-", b"sec-websocket-"), []),
        (request("GET http://h/x HTTP/1.1", Sec_WebSocket_Protocol="a, A"), []),
        (testing.handshake_request("ws://h/x?y"), []),
        (request("POST /x HTTP/1.1"), ["the method 'POST' (section 4.1)"]),
        (request("GET /x HTTP/1.0"), ["the version 'HTTP/1.0' (section 4.1)"]),
        (request("GET /x"), ["the version '' (section 4.1)"]),
        (request("GET /x#y HTTP/1.1"), ["a fragment in the URL (section 3)"]),
        (request(Host=None), ["no Host (section 4.1)"]),
        (RIGHT[:-2] + b"Host: other\r\n\r\n", ["2 times Host (section 4.1)"]),
        (request(Connection=None), ["no Connection: Upgrade (section 4.1)"]),
        (request(Connection="close"), ["no Connection: Upgrade (section 4.1)"]),
        (request(Sec_WebSocket_Version=None), ["no Sec-WebSocket-Version (section 4.1)"]),
        (request(Sec_WebSocket_Version="8"), ["Sec-WebSocket-Version: 8 (section 4.1)"]),
        (request(Sec_WebSocket_Key=None), ["no Sec-WebSocket-Key (section 4.1)"]),
        (request(Sec_WebSocket_Key="x"), [NOT_A_KEY]),
        (request(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ"), [NOT_A_KEY]),
        (request(Sec_WebSocket_Key="ä" + KEY), [NOT_A_KEY]),
        (request(Sec_WebSocket_Protocol="a, b, a"), ["a subprotocol twice (section 4.1)"]),
    ],
)
def test_faults(head: bytes, found: list[str]) -> None:
    assert list(faults_of_request(testing.HandshakeRequest(head))) == found


@pytest.mark.loops("asyncio")
async def test_a_client_whose_request_is_wrong_has_failed() -> None:
    """Also if there is nothing more to be seen of it."""
    async with testing.misbehaving_server(["accept-wrong"]) as server:
        for number, version in enumerate(("13", "8")):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            line = f"GET /m/accept-wrong?agent={number} HTTP/1.1"
            writer.write(request(line, Sec_WebSocket_Version=version))
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            writer.close()
        await eventually(lambda: len(server.agents) == 2 and not any(each.missing() for each in server.agents.values()))
    verdicts = [agent.verdicts()["accept-wrong"] for agent in server.agents.values()]
    assert verdicts == [Verdict.OK, Verdict.FAILED]
