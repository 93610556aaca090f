"""The exceptions of the package: their fields, copies and pickles."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import pytest

import aiohttp_rawws as rawws

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
