"""The catalogue, against clients made by hand: verdicts are right both ways. Clients of others: tests/clients."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiohttp
import pytest

import aiohttp_rawws as rawws
from aiohttp_rawws import testing
from aiohttp_rawws.testing import MISBEHAVIOURS, Verdict
from aiohttp_rawws.testing.agents import chosen
from aiohttp_rawws.testing.verdicts import GOES_ON, PAYLOAD, PROTOCOL, REFUSES, SURVIVES, TOO_BIG

from ..clients.python import of_connect, of_connect_raw
from ..tools.waiting import eventually
from .clients import CLOSE, PING, PONG, TEXT, careful, closing, leaving, opened, sloppy, talkative, unmasked

QUICK = [name for name, each in MISBEHAVIOURS.items() if not each.slow]
SLOW = [name for name, each in MISBEHAVIOURS.items() if each.slow]

Client = Callable[[str], Awaitable[None]]

REFUSALS = (PROTOCOL, PAYLOAD, TOO_BIG, REFUSES)


async def verdicts(client: Client, names: list[str], at_once: int = 10, patience: float | None = None) -> testing.Agent:
    """Visit misbehaviours, some of them at the same time."""
    room = asyncio.Semaphore(at_once)

    async with testing.misbehaving_server(names, patience=patience) as server:
        agent = server.agent("test")

        async def visit(name: str) -> None:
            async with room:
                talk = asyncio.ensure_future(client(server.url(name, "test")))
                await eventually(lambda: name in agent.visits, 25)
                talk.cancel()
                await asyncio.gather(talk, return_exceptions=True)

        await asyncio.gather(*map(visit, names))
        agent.came()
        assert not agent.missing()
        assert agent.complete.is_set()
        return agent


def but(agent: testing.Agent, *wanted: Verdict) -> dict[str, str]:
    """The visits with other verdicts."""
    return {
        name: f"{verdict}: {agent.visits[name].outcome}\n{agent.visits[name].transcript}"
        for name, verdict in agent.verdicts().items()
        if verdict not in wanted
    }


# Things that cannot be tried: answers to an offer of compression, if there is none; client_max_window_bits that were
# not offered, if they were; answers to Pings, if there are none.
NEED_DEFLATE = {name for name, each in MISBEHAVIOURS.items() if each.group.startswith("deflate: ")}
NEED_NO_CLIENT_BITS = {"deflate-client-bits-unoffered"}
NEED_PINGS = {"pong-late", "pong-twice", "pong-wrong", "pong-missing"}


def is_ok(agent: testing.Agent, names: list[str], cannot_be_tried: set[str]) -> bool:
    """True if the agent is UNIMPLEMENTED with what cannot be tried, and OK with all else."""
    wanted = {name: Verdict.UNIMPLEMENTED if name in cannot_be_tried else Verdict.OK for name in names}
    found = agent.verdicts()
    assert found == wanted, {name: text for name, text in but(agent).items() if found[name] is not wanted[name]}
    return True


def test_the_catalogue_is_one() -> None:
    assert len(MISBEHAVIOURS) > 150
    for name, each in MISBEHAVIOURS.items():
        assert name == each.name
        assert name == name.lower() and " " not in name
        for text in (each.summary, each.good):
            assert text.endswith(".") and text[0].isupper()
        assert each.section[0].isdigit() or each.section.startswith("RFC ")
    assert len({each.summary for each in MISBEHAVIOURS.values()}) == len(MISBEHAVIOURS)


@pytest.mark.loops("asyncio")
async def test_a_client_by_the_book_is_ok_everywhere() -> None:
    assert is_ok(await verdicts(careful, QUICK), QUICK, set())


@pytest.mark.loops("asyncio")
async def test_connect_is_ok_everywhere() -> None:
    """``aiohttp_rawws.connect()``."""
    assert is_ok(await verdicts(of_connect, QUICK), QUICK, NEED_NO_CLIENT_BITS)


@pytest.mark.loops("asyncio")
async def test_connect_raw_is_ok_everywhere() -> None:
    """``aiohttp_rawws.connect_raw()``, with a user that answers what a managed session answers."""
    assert is_ok(await verdicts(of_connect_raw, QUICK), QUICK, NEED_DEFLATE)


GIVES_UP = {"head-never", "head-stops", "pong-missing", "close-without-eof", "close-unanswered"}


def impatient(ping_interval: float | None) -> Client:
    """A client of ours that gives up early where a good client gives up, and else is one that echoes."""

    async def client(url: str) -> None:
        gives_up = url.partition("/m/")[2].partition("?")[0] in GIVES_UP
        seconds = 1 if gives_up else 20
        async with aiohttp.ClientSession() as http:
            with suppress(rawws.RawWSError):
                async with rawws.connect(
                    *(http, url),
                    ping_interval=ping_interval,
                    timeout=seconds,
                    open_timeout=seconds,
                    close_timeout=seconds,
                ) as session:
                    async for message in session:
                        await session.send(message)

    return client


@pytest.mark.loops("asyncio")
async def test_connect_is_ok_with_what_is_slow() -> None:
    assert is_ok(await verdicts(impatient(0.5), SLOW, at_once=len(SLOW)), SLOW, set())


@pytest.mark.loops("asyncio")
async def test_a_client_without_pings_cannot_be_tried_with_pongs() -> None:
    assert is_ok(await verdicts(impatient(None), sorted(NEED_PINGS)), sorted(NEED_PINGS), NEED_PINGS)


# Whoever checks nothing does these right: nothing is wrong with a Close, or the RFC leaves it open.
NOT_HARMED = {
    *(f"close-{code}" for code in (1000, 1001, 1011, 1012, 1014, 3000, 4999)),
    *("close-empty", "close-reason-123", "close-inside-message", "close-and-eof", "close-twice"),
    *("data-behind-close", "garbage-behind-close", "close-fragmented", "close-rsv1"),
    *("ping-flood", "pong-flood", "http-1.0"),
}


# A client that knows all rules but one, and the misbehaviours that show it. A frame with several faults, such as that
# of rsv-all, is refused for each of them.
SHOWN_BY: dict[str, list[str]] = {
    "status": ["status-200-with-fields"],
    "accept": ["accept-wrong", "accept-empty", "accept-of-another-key", "accept-is-the-key"],
    "no accept": ["accept-missing"],
    "accept twice": ["accept-twice"],
    "case of accept": ["accept-other-case"],
    "upgrade": ["upgrade-missing", "upgrade-other"],
    "connection": ["connection-missing", "connection-close"],
    "protocol": ["protocol-unoffered", "protocol-two"],
    "extension": ["extension-*", *(name for name in NEED_DEFLATE if MISBEHAVIOURS[name].group.endswith("parameters"))],
    "rsv1": ["rsv1", "close-rsv1", "deflate-rsv1-on-*"],
    "rsv2": ["rsv2", "rsv2-on-ping", "deflate-rsv2"],
    "rsv3": ["rsv3", "rsv3-on-pong"],
    "mask": ["masked-*"],
    "opcode": ["opcode-*"],
    "fin": ["ping-fragmented", "pong-fragmented", "ping-fragmented-in-message", "close-fragmented"],
    "control size": ["ping-126", "pong-126", "ping-65536", "close-126"],
    "length": ["length-16-*", "length-64-*"],
    "highest bit": ["length-negative"],
    "continuation": ["continuation-*"],
    "inside": ["text-inside-*", "binary-inside-*"],
    "limit": ["length-2-62"],
    "text": ["utf8-invalid*", "utf8-overlong", "utf8-surrogate", "utf8-too-*", "utf8-lone-*", "deflate-utf8-invalid"],
    "end of text": ["utf8-truncated"],
    "text early": ["utf8-invalid-in-first-fragment"],
    "size of close": ["close-1-byte"],
    "code": [f"close-{code}" for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)],
    "reason": ["close-not-utf8"],
    "deflate": ["deflate-garbage", "deflate-block-unknown", "deflate-distance"],
    "bomb": ["deflate-bomb"],
    "pings at once": ["fragments-and-pings"],
    "once": ["nothing-wrong", "early-frames", "fragments", "sizes", "message-flood", "deflate-message"],
}


@pytest.mark.loops("asyncio")
async def test_a_client_that_is_lenient_in_one_thing_is_found_out() -> None:
    """By each misbehaviour that is about it: no entry is passed by accident, for another reason."""
    shown = {rule: list(chosen(names)) for rule, names in SHOWN_BY.items()}
    room = asyncio.Semaphore(40)
    async with testing.misbehaving_server(patience=1.5) as server:

        async def visit(rule: str, name: str) -> None:
            async with room:
                await asyncio.wait_for(careful(server.url(name, rule), {rule}), 20)
                await eventually(lambda: name in server.agent(rule).visits, 20)

        await asyncio.gather(*(visit(rule, name) for rule, names in shown.items() for name in names))
        wrong = {rule: but(server.agent(rule), Verdict.NON_STRICT, Verdict.FAILED) for rule in shown}
    assert not {rule: found for rule, found in wrong.items() if found}


def test_each_violation_shows_a_client_that_is_lenient() -> None:
    shown = {name for names in SHOWN_BY.values() for name in chosen(names)}
    refused = {name for name in QUICK if MISBEHAVIOURS[name].judgement in REFUSALS}
    of_no_handshake = {name for name in refused if name.startswith(("status-", "garbage", "frames-first"))}
    assert refused - shown - of_no_handshake == {"rsv-all"}


@pytest.mark.loops("asyncio")
async def test_a_client_that_checks_nothing_fails() -> None:
    wrong = [name for name in QUICK if MISBEHAVIOURS[name].judgement not in (GOES_ON, SURVIVES)]
    agent = await verdicts(sloppy, wrong, at_once=20, patience=1.0)
    assert set(but(agent, Verdict.FAILED)) - {"length-2-62"} <= NOT_HARMED  # it waits, which is allowed


@pytest.mark.loops("asyncio")
async def test_a_client_that_checks_nothing_does_some_things_right() -> None:
    agent = await verdicts(sloppy, sorted(NOT_HARMED))
    assert not but(agent, Verdict.OK, Verdict.NON_STRICT)


@pytest.mark.loops("asyncio")
async def test_a_client_that_does_not_mask_fails() -> None:
    agent = await verdicts(unmasked, ["nothing-wrong", "fragments", "ping-125"], patience=1.0)
    assert set(agent.verdicts().values()) == {Verdict.FAILED}
    assert "no mask" in str(agent.visits["nothing-wrong"].outcome)


@pytest.mark.loops("asyncio")
async def test_a_client_that_goes_on_behind_its_close_fails() -> None:
    agent = await verdicts(talkative, ["close-1000", "nothing-wrong"], patience=1.0)
    assert set(agent.verdicts().values()) == {Verdict.FAILED}
    assert "bytes behind its Close" in str(agent.visits["close-1000"].outcome)


async def in_two_places(url: str) -> None:
    """A client that answers Pings at once, and looks at messages a moment later, as browsers and others do."""
    async with aiohttp.ClientSession() as http, rawws.connect_raw(http, url) as session:

        async def look_at(frame: rawws.Frame) -> None:
            await asyncio.sleep(0.1)
            try:
                frame.payload.decode()
            except UnicodeDecodeError:
                await session.close(1007)
            else:
                await session.send(frame)

        async for frame in session:
            if frame.opcode is rawws.Opcode.PING:
                await session.send(rawws.Frame.pong(frame.payload))
            elif frame.opcode is rawws.Opcode.CLOSE:
                await session.close(1000)
            elif not frame.opcode.is_control:
                session.create_task(look_at(frame))


@pytest.mark.loops("asyncio")
async def test_a_client_that_looks_at_messages_later_is_waited_for() -> None:
    agent = await verdicts(in_two_places, ["nothing-wrong", "utf8-invalid"])
    visits = {name: str(seen.outcome) for name, seen in agent.visits.items()}
    assert visits["nothing-wrong"] == "went on, Close 1000, end of TCP"
    assert visits["utf8-invalid"] == "closed, answers late, Close 1007, end of TCP"
    assert agent.verdicts()["utf8-invalid"] is Verdict.NON_STRICT


def answering(pong: Callable[[bytes], bytes], before_close: Callable[[bytes], bytes] = lambda payload: b"") -> Client:
    """A client that answers all that has come in one go, and puts something before its Close."""

    async def client(url: str) -> None:
        stream = await opened(url, "dGhlIHNhbXBsZSBub25jZQ==", offer=False)
        try:
            await stream.reader.readuntil(b"\r\n\r\n")
            while True:
                first, _, length = await stream.header()
                payload = await stream.read(length)
                if first & 15 == PING:
                    await stream.send(PONG, payload if payload.startswith(b"probe") else pong(payload))
                elif first & 15 == CLOSE:
                    await asyncio.sleep(0.1)
                    if behind := before_close(payload):
                        await stream.send(behind[0], behind[1:])
                    await stream.send(CLOSE, payload)
                    await stream.reader.read()
                    return
        finally:
            stream.writer.close()

    return client


PINGS = {"ping-125": b"x" * 125, "ping-empty": b""}


@pytest.mark.loops("asyncio")
async def test_a_pong_has_the_payload_of_its_ping() -> None:
    agent = await verdicts(answering(bytes), list(PINGS))
    assert set(agent.verdicts().values()) == {Verdict.OK}
    agent = await verdicts(answering(lambda payload: payload[:20] or b"x"), list(PINGS))
    assert set(agent.verdicts().values()) == {Verdict.FAILED}
    for name, payload in PINGS.items():
        breach = f"no Pong with the {len(payload)} bytes of a Ping (section 5.5.3)"
        assert agent.visits[name].outcome.breaches == (breach,)


@pytest.mark.loops("asyncio")
@pytest.mark.parametrize("opcode", [TEXT, PONG])
async def test_what_is_behind_a_close_gets_no_answer(opcode: int) -> None:
    names = ["data-behind-close", "close-1000"]
    agent = await verdicts(answering(bytes, lambda payload: bytes([opcode]) + b"too late"), names)
    assert agent.verdicts() == {"data-behind-close": Verdict.NON_STRICT, "close-1000": Verdict.OK}
    agent = await verdicts(answering(bytes, lambda payload: bytes([opcode]) + b"the rest"), names)
    assert set(agent.verdicts().values()) == {Verdict.OK}  # what was under way


def test_unfinished_closes_are_judged_by_their_text() -> None:
    for name, code, other in (("close-unanswered", 1002, 1000), ("close-without-eof", 1000, 1002)):
        verdict = MISBEHAVIOURS[name].judgement.verdict
        assert verdict(testing.Outcome(how="closed", code=code, end="eof")) is Verdict.OK
        assert verdict(testing.Outcome(how="closed", code=other, end="eof")) is Verdict.NON_STRICT
        assert verdict(testing.Outcome(how="closed", code=code)) is Verdict.NON_STRICT
        assert verdict(testing.Outcome(how="ended", end="eof")) is Verdict.NON_STRICT
        for failed in ("went on", "silent"):
            assert verdict(testing.Outcome(how=failed)) is Verdict.FAILED


# Their scripts take a while, so the client leaves in the middle.
WITH_TIME = ["pause-in-header", "silence", "frame-drips", "byte-by-byte", "utf8-invalid-in-first-fragment", "pong-late"]


@pytest.mark.loops("asyncio")
@pytest.mark.parametrize("client", [leaving, closing])
async def test_a_client_that_leaves_while_the_script_runs_is_judged(client: Client) -> None:
    agent = await verdicts(client, WITH_TIME, patience=1.0)
    seen = {name: visit.outcome.how for name, visit in agent.visits.items()}
    assert set(seen.values()) == {"reset" if client is leaving else "closed"}, seen
    assert Verdict.OK not in agent.verdicts().values()
