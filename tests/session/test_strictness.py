"""F7: a session with ``strict="hop"`` passes on what the two ends have to judge, and refuses what it would repair."""

from __future__ import annotations

import pytest

from aiohttp_rawws import Frame, FrameTooBig, PreparedFrame, ProtocolViolation

from ..tools.pairs import connected
from ..tools.peers import frame
from ..tools.talking import bounded_wait, next_reason
from ..tools.waiting import settle
from ..wire.vectors import LENIENT

REPAIRED = {"ping of 126", "1 in 16 bits", "1 in 64 bits"}  # by a gateway, if it let them pass
PASSED = sorted(LENIENT.keys() - REPAIRED)


@pytest.mark.parametrize("name", PASSED)
async def test_f7_what_a_gateway_forwards_is_what_came(name: str) -> None:
    _, expected = LENIENT[name]
    async with connected("memory", strict="hop", client_options={"strict": False}) as (server, client):
        client.masking = True
        for item in expected:
            head = item.fin << 7 | item.opcode
            client.write_bytes(bytes([head, 0x80 | len(item.payload)]) + b"\0\0\0\0" + item.payload)
        for item in expected:
            got = await bounded_wait(server.receive())
            assert (got.opcode, got.fin, got.kind, got.payload) == (item.opcode, item.fin, item.kind, item.payload)
            await server.send(got)
            back = await bounded_wait(client.receive())
            assert (back.opcode, back.fin, back.payload) == (item.opcode, item.fin, item.payload)


@pytest.mark.parametrize(
    ("wire", "error", "code"),
    [
        (b"\x81\x01x", ProtocolViolation, 1002),  # not masked
        (b"\x82\xfe\x00\x01" + bytes(5), ProtocolViolation, 1002),  # a length of 1 in 16 bits
        (frame(9, bytes(126)), ProtocolViolation, 1002),
        (b"\x8b\xff" + (2**62).to_bytes(8, "big"), ProtocolViolation, 1002),  # F15: a control frame of any length
        (b"\x82\xff\x80" + bytes(7), ProtocolViolation, 1002),  # a negative length
        (frame(2, bytes(11)), FrameTooBig, 1009),
    ],
    ids=["mask", "minimal", "control", "reserved control", "negative", "limit"],
)
async def test_f7_what_a_gateway_would_repair_is_refused(wire: bytes, error: type[Exception], code: int) -> None:
    limit = 10 if error is FrameTooBig else None
    async with connected("memory", strict="hop", max_frame_size=limit) as (server, client):
        client.write_bytes(wire)
        with pytest.raises(error):
            await bounded_wait(server.receive())
        assert (await next_reason(client)).code == code


async def test_f7_a_prepared_frame_inside_a_message() -> None:
    async with connected("memory", strict="hop", client_options={"strict": False}) as (server, client):
        await server.send(Frame.text("open", fin=False))
        await server.send(PreparedFrame(Frame.text("whole")))
        await settle()
        assert [client.receive_nowait(), client.receive_nowait()] == [
            Frame.text("open", fin=False),
            Frame.text("whole"),
        ]
