"""Playing one side of a recording over a raw session, and comparing what the other side does."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import RawWSError
from ..session.raw import WebSocketSession
from ..wire.codec import Frame, encode_header
from .observing import Unsubscribe, observe
from .records import BytesRecord, CloseRecord, EndRecord, FrameRecord, OpenRecord, Record, Source, other
from .text import describe

logger: logging.Logger = logging.getLogger("aiohttp_rawws")

Pace = Literal["lockstep", "recorded", "fast"]
"""How fast a recording is played."""

Part = Literal["opcode", "fin", "rsv", "masking_key", "length", "header", "payload", "end"]
"""The parts of what the other side does that are compared, and can be ignored."""

Step = FrameRecord | BytesRecord | EndRecord
"""A record that is played, or waited for."""

PARTS: tuple[Part, ...] = ("opcode", "fin", "rsv", "masking_key", "length", "header", "payload", "end")
IGNORED: tuple[Part, ...] = ("masking_key",)  # unless the caller says otherwise: a key is drawn anew each time
SHOWN = 10  # differences in the text of the error


@dataclass(frozen=True, slots=True)
class Difference:
    """A place at which the other side differs from the recording.

    Attributes:
        expected: The record of the recording, or None if there is none.
        got: The record of what came instead, or None if nothing came.
        parts: The parts that differ: "opcode", "payload"... Empty if one of the two is missing or of another kind.
    """

    expected: Step | None
    got: Step | None
    parts: tuple[Part, ...] = ()

    def __str__(self) -> str:
        place = self.expected or self.got
        assert place is not None
        where = f"frame {place.number}" if self.expected and isinstance(place, FrameRecord) else "the end"
        if self.expected is None:
            where = "behind the recording"
        what = f": {', '.join(self.parts)}" if self.parts else ""
        expected = "nothing" if self.expected is None else describe(self.expected)
        got = "nothing" if self.got is None else describe(self.got)
        return f"{where}{what}\n    expected: {expected}\n    got:      {got}"


class ReplayMismatch(RawWSError, AssertionError):
    """The other side does not do what the recording says.

    Args:
        text: The text of the error.
        differences: The places at which it differs.

    Attributes:
        differences: The places at which it differs.
    """

    def __init__(self, text: str, differences: Sequence[Difference] = ()) -> None:
        super().__init__(text)
        self.differences: tuple[Difference, ...] = tuple(differences)


class Player:
    """Plays the steps of one connection over a session."""

    def __init__(
        self, steps: Sequence[Step], source: Source, pace: Pace, ignore: Collection[str], timeout: float
    ) -> None:
        """
        Args:
            steps: The events of the connection, in order.
            source: The side to play.
            pace: How fast.
            ignore: Parts that are not compared.
            timeout: Seconds that each step may take.
        """
        self._steps = steps
        self._source = source
        self._pace = pace
        self._ignore = ignore
        self._timeout = timeout
        self._session: WebSocketSession | None = None
        self._came: list[Step] = []
        self._is_over = False
        self._compared = 0  # of those that came
        self._something_came = asyncio.Event()
        self._differences: list[Difference] = []
        self._stop: Unsubscribe | None = None
        self._has_ended = False  # our direction, by us
        self._has_dropped = False  # ... and with it the other one

    # ---- what the other side does -----------------------------------------------------

    def watch(self, session: WebSocketSession) -> None:
        """Look at what arrives on ``session`` from now on. Frames that wait in it have arrived before."""
        if self._session is not None:
            return
        self._session = session
        connection = session.connection
        waiting = list(iter(session.receive_nowait, None))
        for item in waiting:
            if not isinstance(item, Frame):
                raise ValueError("the session has delivered a part of a frame, so it cannot be played on any more")
            self._came.append(_record_of(item, self._source))
        self._is_over = connection.is_lost()
        if connection.eof or self._is_over:
            self._came.append(EndRecord(connection=0, time=0, source=other(self._source), how="eof"))
        self._stop = observe(session, self._see, max_payload=sys.maxsize)  # also what the session refuses

    def _see(self, record: Record) -> None:
        if isinstance(record, CloseRecord):
            self._is_over = True
        elif isinstance(record, OpenRecord) or record.source == self._source:
            return
        else:
            self._came.append(record)
        self._something_came.set()

    async def _next(self) -> Step | None:
        """Wait for what comes next. Returns None if nothing more comes, or nothing in time."""
        while self._compared == len(self._came):
            if self._is_over:
                return None
            self._something_came.clear()
            try:
                await asyncio.wait_for(self._something_came.wait(), self._timeout)
            except asyncio.TimeoutError:
                return None
        self._compared += 1
        return self._came[self._compared - 1]

    # ---- playing ----------------------------------------------------------------------

    async def play(self, skip: int = 0) -> list[Step]:
        """Play the steps, and compare.

        Args:
            skip: Steps at the beginning that were played already. Default: 0.

        Returns:
            The events of the other side.

        Raises:
            ReplayMismatch: It is not what the recording says.
        """
        session = self._session
        assert session is not None
        before = session.on_violation
        session.on_violation = "raise"  # it would send a Close that is not in the recording
        reader = asyncio.get_running_loop().create_task(_take_all(session), name="rawws-replay-reader")
        try:
            await asyncio.sleep(0)  # the reader begins, and raises a RuntimeError if somebody else receives
            if reader.done():
                reader.result()
            await self._play(session, self._steps[skip:])
        finally:
            reader.cancel()
            await asyncio.wait([reader])
            session.on_violation = before
            if self._stop is not None:
                self._stop()
        return self._came

    async def _play(self, session: WebSocketSession, steps: Sequence[Step]) -> None:
        loop = asyncio.get_running_loop()
        start, first = loop.time(), steps[0].time if steps else 0.0
        expected: list[Step] = []
        for step in steps:
            if self._has_dropped:
                break  # the other side cannot be heard any more
            if step.source != self._source:
                if self._pace == "lockstep":
                    self._compare(step, await self._next())
                    self._raise_differences()
                else:
                    expected.append(step)
                continue
            if self._pace == "recorded":
                await asyncio.sleep(step.time - first - (loop.time() - start))
            if isinstance(step, EndRecord):
                await self._compare_all(expected)  # nothing is heard behind some ends
            await self._do(session, step)
        if not self._has_dropped:
            await self._compare_all(expected)
        for got in self._came[self._compared :]:
            if not (isinstance(got, EndRecord) and self._has_ended):  # the other side ends when we have
                self._differences.append(Difference(None, got))
        self._raise_differences()
        await self._leave(session)

    async def _compare_all(self, expected: list[Step]) -> None:
        for step in expected:
            got = await self._next()
            self._compare(step, got)
            if got is None:
                break
        expected.clear()
        self._raise_differences()

    async def _do(self, session: WebSocketSession, step: Step) -> None:
        try:
            if isinstance(step, FrameRecord):
                session.write_bytes(step.wire)
            elif isinstance(step, BytesRecord):
                session.write_bytes(step.data)
            else:
                await self._end(session, step)
                return
            await asyncio.wait_for(session.flush(), self._timeout)
        except RawWSError as exc:
            text = f"the connection ended before this could be sent:\n  {describe(step)}\n  {exc}"
            raise ReplayMismatch(self._text(text), self._differences) from exc
        except asyncio.TimeoutError:
            text = f"the other side did not read for {self._timeout:g} seconds before this:\n  {describe(step)}"
            raise ReplayMismatch(self._text(text), self._differences) from None

    async def _end(self, session: WebSocketSession, step: EndRecord) -> None:
        self._has_ended = True
        if session.connection.is_lost():
            return
        if step.how == "eof":
            try:
                await asyncio.wait_for(session.write_eof(), self._timeout)
            except NotImplementedError:  # TLS ends both directions at once
                await session.end()
        else:
            self._has_dropped = True
            session.abort(reset=step.how == "reset")
            await session.wait_closed()

    async def _leave(self, session: WebSocketSession) -> None:
        """End the connection if both directions have ended. Else it stays open."""
        if self._has_ended and session.connection.eof:
            await session.end()

    # ---- comparing --------------------------------------------------------------------

    def _compare(self, expected: Step, got: Step | None) -> None:
        if type(expected) is not type(got):
            self._differences.append(Difference(expected, got))
            return
        parts: list[Part] = []
        if isinstance(expected, FrameRecord) and isinstance(got, FrameRecord):
            parts = differing_parts(expected, got)
        elif isinstance(expected, BytesRecord) and isinstance(got, BytesRecord):
            parts = ["header"] if expected.data != got.data else []
        elif isinstance(expected, EndRecord) and isinstance(got, EndRecord):
            # "abort" is how a side ends it itself. The other side sees one of the two.
            parts = ["end"] if expected.how != got.how and expected.how != "abort" else []
        parts = [part for part in parts if part not in self._ignore]
        if parts:
            self._differences.append(Difference(expected, got, tuple(parts)))

    def _raise_differences(self) -> None:
        if self._differences:
            raise ReplayMismatch(self._text(""), self._differences)

    def _text(self, more: str) -> str:
        lines = []
        if self._differences:
            side, number = other(self._source), len(self._differences)
            lines.append(f"the {side} differs from the recording in {number} place{'s' if number > 1 else ''}")
            lines += [f"  {difference}" for difference in self._differences[:SHOWN]]
            if any(difference.got is None for difference in self._differences):
                lines.append("  the connection is over" if self._is_over else f"  waited {self._timeout:g} seconds")
        if more:
            lines.append(more)
        return "\n".join(lines)


def differing_parts(expected: FrameRecord, got: FrameRecord) -> list[Part]:
    """Return the parts in which two frames differ."""
    parts: list[Part] = []
    if expected.opcode != got.opcode:
        parts.append("opcode")
    if expected.fin != got.fin:
        parts.append("fin")
    if expected.rsv != got.rsv:
        parts.append("rsv")
    if expected.masking_key != got.masking_key:
        # Whether there is a key is a part of the header.
        parts.append("masking_key" if expected.masking_key and got.masking_key else "header")
    if (expected.length, expected.size) != (got.length, got.size):
        parts.append("length")
    elif len(expected.header) != len(got.header) and "header" not in parts:
        parts.append("header")  # the length is in another form
    if not expected.redacted:
        came = got.payload[: len(expected.payload)] if expected.truncated else got.payload
        if came != expected.payload:
            parts.append("payload")
    return parts


def _record_of(frame: Frame, source: Source) -> FrameRecord:
    """The record of a frame that was received before anybody looked. Its length counts as in the shortest form."""
    bits = {"fin": frame.fin, "rsv1": frame.rsv1, "rsv2": frame.rsv2, "rsv3": frame.rsv3}
    header = encode_header(frame.opcode, len(frame.payload), masking_key=frame.masking_key, **bits)
    return FrameRecord(
        connection=0,
        number=0,
        time=0,
        source=other(source),
        header=header,
        payload=frame.payload,
        size=len(frame.payload),
        kind=frame.kind,
    )


async def _take_all(session: WebSocketSession) -> None:
    """Take what the session receives, so that it never stops reading."""
    try:
        while True:
            await session.receive()
    except RawWSError:
        pass
