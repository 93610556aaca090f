"""The exceptions of the package: their fields, copies and pickles."""

from __future__ import annotations

import builtins
import copy
import functools
import inspect
import pickle
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest

import aiohttp_rawws as rawws
from aiohttp_rawws import errors

# ---- the status of a refused handshake ----------------------------------------------------


@pytest.mark.parametrize("status", [400, 599, HTTPStatus.FORBIDDEN])
def test_a_status_that_refuses(status: int) -> None:
    error = rawws.HandshakeError(status, "no")
    assert (error.status, type(error.status), str(error), error.headers) == (status, int, "no", {})


@pytest.mark.parametrize("status", [-1, 0, 101, 200, 399, 600, HTTPStatus.FOUND])
def test_a_status_that_cannot_refuse(status: int) -> None:
    with pytest.raises(ValueError, match="400 to 599"):
        rawws.HandshakeError(status, "no")


@pytest.mark.parametrize("status", [None, "403", 403.0, True])
def test_a_status_that_is_none(status: Any) -> None:
    with pytest.raises(TypeError, match="HTTP status"):
        rawws.HandshakeError(status, "no")


# ---- copies and pickles -------------------------------------------------------------------


class Refused(rawws.HandshakeError):
    """A user's error: other arguments, and attributes of its own."""

    def __init__(self, user: str, *, attempts: int) -> None:
        super().__init__(403, f"{user} is not known", {"X-User": user})
        self.user = user
        self.attempts = attempts


class Gone(rawws.ConnectionLost):
    def __init__(self) -> None:
        super().__init__("it is gone", received=1000)
        self.errors = ["one"]


ERRORS: list[rawws.RawWSError] = [
    rawws.RawWSError("text"),
    rawws.RawWSError("two", 2),
    rawws.RawWSError(),
    rawws.HandshakeError(426, "no", {"Upgrade": "websocket"}),
    rawws.PeerError("text"),
    rawws.ProtocolViolation("text"),
    rawws.InvalidPayload("text"),
    rawws.FrameTooBig(10, 5),
    rawws.FrameTooBig(10, 5, "max_message_size"),
    rawws.PolicyViolation("too many", "max_fragments", 3),
    rawws.ChannelOverflow("full"),
    rawws.SessionClosed("over", received=1000, sent=1001),
    rawws.ConnectionLost("lost", sent=1001),
    rawws.ConverterNotFound("none"),
    rawws.DeserializeError("no", rawws.Frame.text("a", fin=False)),
    Refused("anna", attempts=3),
    Gone(),
]


def pickled(protocol: int, error: Any) -> Any:
    return pickle.loads(pickle.dumps(error, protocol))


WAYS: dict[str, Callable[[Any], Any]] = {
    **{f"pickle-{protocol}": functools.partial(pickled, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)},
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def test_every_error_is_tried() -> None:
    ours = {value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, rawws.RawWSError)}
    assert ours <= set(map(type, ERRORS))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_copies(error: rawws.RawWSError, way: str) -> None:
    again = WAYS[way](error)
    assert type(again) is type(error)
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))
    assert again is not error


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_copies_keep_what_was_added(error: rawws.RawWSError, way: str) -> None:
    error = copy.deepcopy(error)
    error.request_id = 7  # type: ignore[attr-defined]
    error.__notes__ = ["a note"]  # type: ignore[attr-defined]
    again = WAYS[way](error)
    assert (again.request_id, again.__notes__) == (7, ["a note"])


@pytest.mark.parametrize("way", WAYS)
async def test_the_connection_stays_behind(way: str) -> None:
    server, client = rawws.memory_pair()
    server.abort()
    with pytest.raises(rawws.ConnectionLost) as caught:
        await server.receive()
    client.abort()
    again = WAYS[way](caught.value)
    assert caught.value.source is not None
    assert again.source is None
    assert {**vars(caught.value), "source": None} == {**vars(again), "source": None}


def test_a_group_of_errors() -> None:
    group = getattr(builtins, "ExceptionGroup", None)
    if group is None:
        pytest.skip("there are no groups before Python 3.11")
    again = pickle.loads(pickle.dumps(group("both", [ERRORS[3], ERRORS[7]])))
    assert [vars(error) for error in again.exceptions] == [vars(ERRORS[3]), vars(ERRORS[7])]


def test_a_copied_loss_is_an_os_error_without_a_number() -> None:
    again = pickle.loads(pickle.dumps(rawws.ConnectionLost("lost")))
    assert isinstance(again, ConnectionError)
    assert (again.errno, again.strerror, again.filename) == (None, None, None)
