"""Outcomes and the tables that judge them."""

from __future__ import annotations

import pytest

from aiohttp_rawws.testing import Outcome, Verdict
from aiohttp_rawws.testing import verdicts as tables
from aiohttp_rawws.testing.misbehaviours.timing import FLOOD
from aiohttp_rawws.testing.verdicts import Judgement

OK, NON_STRICT, FAILED = Verdict.OK, Verdict.NON_STRICT, Verdict.FAILED

closed = {code: Outcome(how="closed", code=code, end="eof") for code in (1000, 1002, 1005, 1007, 1009)}
went_on = Outcome(how="went on", code=1000, end="eof")
went_on_empty = Outcome(how="went on", code=1005, end="eof")
silent = Outcome(how="silent")
ended = Outcome(how="ended", end="eof")
reset = Outcome(how="reset", end="reset")
gone = Outcome(how="gone")
hanging = Outcome(how="closed", code=1002)
late = Outcome(how="closed", code=1002, end="eof", late=True)
no_echo = Outcome(how="went on", code=1000, end="eof", echoed=False)

TABLE: list[tuple[Judgement, dict[Verdict, list[Outcome]]]] = [
    (
        tables.PROTOCOL,
        {
            OK: [closed[1002]],
            NON_STRICT: [closed[1000], closed[1005], closed[1007], ended, reset, late],
            FAILED: [went_on, silent, hanging, no_echo, gone],
        },
    ),
    (tables.PAYLOAD, {OK: [closed[1007]], NON_STRICT: [closed[1002], late], FAILED: [went_on, silent]}),
    (tables.TOO_BIG, {OK: [closed[1009]], NON_STRICT: [closed[1002], silent, ended], FAILED: [went_on, hanging]}),
    (tables.REFUSES, {OK: [ended, reset], NON_STRICT: [closed[1002]], FAILED: [went_on, silent, hanging]}),
    (tables.REFUSES_LATE, {OK: [ended, reset], NON_STRICT: [silent], FAILED: [went_on]}),
    (tables.REFUSES_OR_GOES_ON, {OK: [ended, reset, went_on], NON_STRICT: [], FAILED: [silent, no_echo]}),
    (
        tables.GOES_ON,
        {OK: [went_on], NON_STRICT: [went_on_empty], FAILED: [no_echo, closed[1000], closed[1002], ended, silent]},
    ),
    (FLOOD, {OK: [went_on, closed[1009]], NON_STRICT: [went_on_empty, ended, closed[1002]], FAILED: [silent, hanging]}),
    (tables.LEAVES, {OK: [ended, reset, closed[1002], closed[1000]], NON_STRICT: [], FAILED: [went_on, silent]}),
    (tables.SURVIVES, {OK: [gone], NON_STRICT: [], FAILED: [went_on, silent]}),
    (tables.closes(1000), {OK: [closed[1000]], NON_STRICT: [closed[1002], ended], FAILED: [went_on, silent, hanging]}),
]


@pytest.mark.parametrize(
    ("judgement", "outcome", "verdict"),
    [
        pytest.param(judgement, outcome, verdict, id=f"{number}-{outcome}-{verdict}")
        for number, (judgement, rows) in enumerate(TABLE)
        for verdict, outcomes in rows.items()
        for outcome in outcomes
    ],
)
def test_verdicts(judgement: Judgement, outcome: Outcome, verdict: Verdict) -> None:
    assert judgement.verdict(outcome) is verdict


@pytest.mark.parametrize("judgement", [judgement for judgement, _ in TABLE])
def test_breaches_and_what_was_not_offered(judgement: Judgement) -> None:
    for outcome in (closed[1002], went_on, ended, gone):
        assert judgement.verdict(Outcome(how=outcome.how, code=outcome.code, breaches=("no mask",))) is FAILED
    assert judgement.verdict(Outcome(how="not offered")) is Verdict.UNIMPLEMENTED


def test_text_of_an_outcome() -> None:
    assert str(closed[1005]) == "closed, empty Close, end of TCP"
    assert str(hanging) == "closed, Close 1002, TCP left open"
    assert str(late) == "closed, answers late, Close 1002, end of TCP"
    assert str(no_echo) == "went on, no echo, Close 1000, end of TCP"
    assert str(Outcome(how="silent", breaches=("no mask",))) == "silent, no mask"
