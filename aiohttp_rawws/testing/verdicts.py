"""Verdicts on clients: the outcome of a visit as data, and the table that an outcome is looked up in.

Nothing of it depends on what a client reports of itself. An outcome has only what was on the wire.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

from .transcript import End, Transcript

How: TypeAlias = Literal["went on", "closed", "ended", "reset", "silent", "gone", "not offered"]


class Verdict(str, Enum):
    """A verdict, in the words of the Autobahn suite."""

    OK = "OK"
    """The client did what a good client does."""
    NON_STRICT = "NON-STRICT"
    """The client is safe, but did it late, without the right close code, or not at all where the RFC says SHOULD."""
    FAILED = "FAILED"
    """The client broke the RFC, or accepted what it must refuse."""
    UNIMPLEMENTED = "UNIMPLEMENTED"
    """It could not be tried: the client did not offer the extension, or sent no pings."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The reaction of a client to a misbehaviour of its server.

    Attributes:
        how: "went on" (it answered a Ping that came behind the misbehaviour), "closed" (it sent a Close), "ended" (it
            ended TCP without a Close), "reset" (the same, with a reset), "silent" (none of it in time), "gone" (the
            server ended the connection, so nothing more could be seen), "not offered" (it could not be tried).
        code: The code of its Close, 1005 for a Close without one, None for none.
        end: How it ended TCP: "eof", "reset", or None (it did not, in time).
        late: It answered a Ping between the misbehaviour and the reaction, or something behind the server's Close.
        echoed: The messages of the script came back.
        breaches: Rules that it broke on the way.
        seconds: From the misbehaviour to the Close or the end, the first of them. None if there was neither.
    """

    how: How
    code: int | None = None
    end: End | None = None
    late: bool = False
    echoed: bool = True
    breaches: tuple[str, ...] = ()
    seconds: float | None = None

    def __str__(self) -> str:
        parts: list[str] = [f"{self.how}, answers late" if self.late else self.how]
        if not self.echoed:
            parts.append("no echo")
        if self.code is not None:
            parts.append("empty Close" if self.code == 1005 else f"Close {self.code}")
        if self.how in ("closed", "went on"):
            parts.append({"eof": "end of TCP", "reset": "reset", None: "TCP left open"}[self.end])
        return ", ".join([*parts, *self.breaches])


def breaches_of(transcript: Transcript) -> tuple[str, ...]:
    """Return the rules that a client broke whatever its server did."""
    found = [f"{count} times {fault}" if count > 1 else fault for fault, count in transcript.faults.items()]
    if transcript.behind_close:
        found.append(f"{transcript.behind_close} bytes behind its Close (section 5.5.1)")
    if transcript.error is not None:
        found.append(f"bytes that are no frame: {transcript.error}")
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Reaction:
    """A pattern for outcomes.

    Args:
        how: The outcome's ``how`` is one of these.
        codes: The outcome's ``code`` is one of these. Default: None (any).
        ends: The client has ended TCP. Default: None (does not matter).
        late: The outcome's ``late``. Default: False.
        echoed: The outcome's ``echoed``. Default: None (does not matter).
    """

    how: frozenset[How]
    codes: Container[int | None] | None = None
    ends: bool | None = None
    late: bool | None = False
    echoed: bool | None = None

    def fits(self, outcome: Outcome) -> bool:
        """Return True if an outcome is of this kind."""
        return (
            outcome.how in self.how
            and (self.codes is None or outcome.code in self.codes)
            and self.ends in (None, outcome.end is not None)
            and self.late in (None, outcome.late)
            and self.echoed in (None, outcome.echoed)
        )


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The table that gives the verdict on an outcome. An outcome in none of its rows is FAILED, and so is a breach.

    Args:
        ok: These are OK.
        non_strict: These are NON-STRICT.
    """

    ok: tuple[Reaction, ...]
    non_strict: tuple[Reaction, ...] = ()

    def verdict(self, outcome: Outcome) -> Verdict:
        """Return the verdict on an outcome."""
        if outcome.how == "not offered":
            return Verdict.UNIMPLEMENTED
        if outcome.breaches:
            return Verdict.FAILED
        if any(reaction.fits(outcome) for reaction in self.ok):
            return Verdict.OK
        if any(reaction.fits(outcome) for reaction in self.non_strict):
            return Verdict.NON_STRICT
        return Verdict.FAILED


def how(*words: How) -> frozenset[How]:
    """Return a set of ways, for ``Reaction``."""
    return frozenset(words)


LEFT = how("ended", "reset")


def fails(codes: Iterable[int], *, in_silence: bool = False) -> Judgement:
    """Make the judgement for violations: the client must fail the connection (section 7.1.7).

    Args:
        codes: The codes of the Close that a good client sends.
        in_silence: A client that only waits is NON-STRICT. Default: False (it has FAILED).
    """
    return Judgement(
        ok=(Reaction(how=how("closed"), codes=frozenset(codes), ends=True),),
        non_strict=(
            Reaction(how=how("closed"), ends=True, late=None),
            Reaction(how=LEFT, late=None),
            *((Reaction(how=how("silent"), late=None),) if in_silence else ()),
        ),
    )


PROTOCOL = fails([1002])
"""The client must fail the connection, and should say 1002."""

PAYLOAD = fails([1007])
"""The client must fail the connection, and should say 1007."""

TOO_BIG = fails([1009], in_silence=True)
"""A good client has a limit, and says 1009. Section 10.4 recommends one; to wait for the bytes is allowed."""

REFUSES = Judgement(ok=(Reaction(how=LEFT),), non_strict=(Reaction(how=how("closed"), ends=True),))
"""The client must fail the handshake: it ends TCP and sends no frame (section 4.1)."""

REFUSES_LATE = Judgement(ok=REFUSES.ok, non_strict=(*REFUSES.non_strict, Reaction(how=how("silent"))))
"""The same, if the RFC sets no time."""

GOES_ON = Judgement(
    ok=(Reaction(how=how("went on"), codes=[1000], ends=True, echoed=True),),
    non_strict=(Reaction(how=how("went on"), codes=[1005], ends=True, echoed=True),),
)
"""Nothing is wrong: the client goes on, and answers a Close with 1000 in kind."""

REFUSES_OR_GOES_ON = Judgement(ok=(*REFUSES.ok, *GOES_ON.ok), non_strict=(*REFUSES.non_strict, *GOES_ON.non_strict))
"""The RFC leaves it open."""

LEAVES = Judgement(
    ok=(Reaction(how=LEFT, late=None), Reaction(how=how("closed"), ends=True, late=None)),
)
"""The connection broke. The client must notice, and end its side."""

LEAVES_LATE = Judgement(ok=LEAVES.ok, non_strict=(Reaction(how=how("silent"), late=None),))
"""The same, if the RFC sets no time."""

SURVIVES = Judgement(ok=(Reaction(how=how("gone")),))
"""The server reset the connection. The client must be there for the next one."""


def closes(*codes: int) -> Judgement:
    """Make the judgement for a Close by the server: the client answers it with one of these codes."""
    return Judgement(
        ok=(Reaction(how=how("closed"), codes=codes, ends=True),),
        non_strict=(Reaction(how=how("closed"), ends=True, late=None), Reaction(how=LEFT, late=None)),
    )
