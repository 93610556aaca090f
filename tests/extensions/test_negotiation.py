"""Agreeing on extensions (RFC 6455, section 9.1), and on permessage-deflate's parameters (RFC 7692, section 7.1)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiohttp_rawws.errors import HandshakeError
from aiohttp_rawws.extensions.deflate import PerMessageDeflate, WebSocketDeflateExtension
from aiohttp_rawws.extensions.negotiation import client_offer_header, negotiate_client, negotiate_server

from .test_base import Factory

PMD = "permessage-deflate"


def long(parameters: str) -> str:
    """Spell out the names."""
    for short, name in {"SN": "server_no_context_takeover", "CN": "client_no_context_takeover",
                        "SB": "server_max_window_bits", "CB": "client_max_window_bits"}.items():  # fmt: skip
        parameters = parameters.replace(short, name)
    return parameters.replace("PMD", PMD)


# options of the server, offers -> answer.
# SN, CN: server_ and client_no_context_takeover; SB, CB: server_ and client_max_window_bits.
SERVER: list[tuple[dict[str, Any], str, str | None]] = [
    ({}, "PMD", "PMD"),
    # section 7.1.1: no context takeover
    ({}, "PMD; SN", "PMD; SN"),
    ({}, "PMD; CN", "PMD; CN"),
    ({}, "PMD; CN; SN", "PMD; SN; CN"),
    ({"server_no_context_takeover": True}, "PMD", "PMD; SN"),
    ({"client_no_context_takeover": True}, "PMD", "PMD; CN"),
    ({"server_no_context_takeover": True, "client_no_context_takeover": True}, "PMD; SN", "PMD; SN; CN"),
    # section 7.1.2.1: the server's window
    ({}, "PMD; SB=15", "PMD; SB=15"),
    ({}, "PMD; SB=9", "PMD; SB=9"),
    ({}, "PMD; SB=8", None),
    ({"server_max_window_bits": 12}, "PMD", "PMD; SB=12"),
    ({"server_max_window_bits": 12}, "PMD; SB=11", "PMD; SB=11"),
    ({"server_max_window_bits": 12}, "PMD; SB=12", "PMD; SB=12"),
    ({"server_max_window_bits": 12}, "PMD; SB=13", "PMD; SB=12"),
    ({"server_max_window_bits": 15}, "PMD", "PMD"),
    ({"server_max_window_bits": 12}, "PMD; SB=8", None),
    # section 7.1.2.2: the client's window
    ({}, "PMD; CB", "PMD"),
    ({}, "PMD; CB=15", "PMD"),
    ({}, "PMD; CB=10", "PMD; CB=10"),
    ({}, "PMD; CB=8", "PMD; CB=8"),
    ({"client_max_window_bits": 11}, "PMD; CB", "PMD; CB=11"),
    ({"client_max_window_bits": 11}, "PMD; CB=15", "PMD; CB=11"),
    ({"client_max_window_bits": 11}, "PMD; CB=11", "PMD; CB=11"),
    ({"client_max_window_bits": 11}, "PMD; CB=10", "PMD; CB=10"),
    ({"client_max_window_bits": 15}, "PMD; CB", "PMD"),
    # "the server MUST NOT include it" where the client has not
    ({"client_max_window_bits": 11}, "PMD", "PMD"),
    # everything at once
    ({"client_max_window_bits": 10}, "PMD; SN; CN; SB=14; CB=12", "PMD; SN; CN; SB=14; CB=10"),
    ({}, 'PMD; SB="10"; CB="9"', "PMD; SB=10; CB=9"),
    # declined: unknown, repeated and invalid parameters (section 7)
    ({}, "PMD; unknown", None),
    ({}, "PMD; unknown=1", None),
    ({}, "PMD; SN; SN", None),
    ({}, "PMD; CB; CB=10", None),
    ({}, "PMD; SB=10; SB=10", None),
    ({}, "PMD; SN=1", None),
    ({}, "PMD; CN=true", None),
    ({}, "PMD; SB", None),
    ({}, "PMD; SB=7", None),
    ({}, "PMD; SB=16", None),
    ({}, "PMD; SB=010", None),
    ({}, "PMD; SB=09", None),
    ({}, "PMD; SB=+10", None),
    ({}, "PMD; SB=1e1", None),
    ({}, "PMD; SB=-9", None),
    ({}, "PMD; SB=99999999999999999999", None),
    ({}, "PMD; CB=7", None),
    ({}, "PMD; CB=16", None),
    ({}, "PMD; CB=x", None),
    # the next one is tried (Ktor looks at the first only and answers 500; SPEC 1.12, D3)
    ({}, "PMD; SB=8, PMD; SB=9, PMD", "PMD; SB=9"),
    ({}, "PMD; unknown, PMD; CB", "PMD"),
    ({}, "PMD; SN; SN, x, PMD; SB=77, PMD; SN", "PMD; SN"),
    ({}, "PMD; SN, PMD", "PMD; SN"),
    # not ours
    ({}, "x-webkit-deflate-frame", None),
    ({}, "PERMESSAGE-DEFLATE", None),
    ({}, "", None),
]


@pytest.mark.parametrize(("options", "offers", "answer"), SERVER)
def test_server(options: dict[str, Any], offers: str, answer: str | None) -> None:
    extensions, header = negotiate_server([PerMessageDeflate(**options)], [long(offers)])
    assert header == (None if answer is None else long(answer))
    assert [extension.name for extension in extensions] == ([] if answer is None else [PMD])


def deflate(extension: Any) -> WebSocketDeflateExtension:
    assert isinstance(extension, WebSocketDeflateExtension)
    return extension


def state(extension: Any) -> tuple[int, bool, int, bool]:
    d = deflate(extension)
    return (d.compressor_bits, d.keeps_compressor, d.decompressor_bits, d.keeps_decompressor)


@pytest.mark.parametrize(
    ("options", "offer", "expected"),
    [
        ({}, "PMD", (15, True, 15, True)),
        ({}, "PMD; SN", (15, False, 15, True)),
        ({}, "PMD; CN", (15, True, 15, False)),
        ({"server_no_context_takeover": True}, "PMD", (15, False, 15, True)),
        ({"client_no_context_takeover": True}, "PMD", (15, True, 15, False)),
        ({"server_max_window_bits": 10}, "PMD; CB=12", (10, True, 12, True)),
        ({"client_max_window_bits": 10}, "PMD; SB=9; CB", (9, True, 10, True)),
        ({"client_max_window_bits": 10}, "PMD", (15, True, 15, True)),
        ({}, "PMD; CB=8", (15, True, 8, True)),
    ],
)  # fmt: skip
def test_what_the_server_then_does(options: dict[str, Any], offer: str, expected: tuple[int, bool, int, bool]) -> None:
    extensions, _ = negotiate_server([PerMessageDeflate(**options)], [long(offer)])
    assert state(extensions[0]) == expected


@pytest.mark.parametrize(
    ("options", "offer"),
    [
        ({}, "PMD; CB"),
        ({"client_max_window_bits": 15, "server_max_window_bits": 15}, "PMD; CB"),
        ({"client_max_window_bits": 10}, "PMD; CB=10"),
        ({"server_max_window_bits": 9}, "PMD; SB=9; CB"),
        ({"client_no_context_takeover": True}, "PMD; CN; CB"),
        ({"server_no_context_takeover": True}, "PMD; SN; CB"),
        (
            {"client_no_context_takeover": True, "server_no_context_takeover": True,
             "client_max_window_bits": 9, "server_max_window_bits": 14},
            "PMD; SN; CN; SB=14; CB=9",
        ),
    ],
)  # fmt: skip
def test_client_offer(options: dict[str, Any], offer: str) -> None:
    assert client_offer_header([PerMessageDeflate(**options)]) == long(offer)


# options of the client, answer -> compressor's bits and whether it is kept, decompressor's; or the error
CLIENT: list[tuple[dict[str, Any], str, tuple[int, bool, int, bool] | str]] = [
    ({}, "PMD", (15, True, 15, True)),
    # section 7.1.1.1
    ({}, "PMD; SN", (15, True, 15, False)),
    ({"server_no_context_takeover": True}, "PMD; SN", (15, True, 15, False)),
    ({"server_no_context_takeover": True}, "PMD", "did not agree to SN"),
    # section 7.1.1.2
    ({}, "PMD; CN", (15, False, 15, True)),
    ({"client_no_context_takeover": True}, "PMD", (15, False, 15, True)),
    ({"client_no_context_takeover": True}, "PMD; CN", (15, False, 15, True)),
    # section 7.1.2.1
    ({}, "PMD; SB=8", (15, True, 8, True)),
    ({}, "PMD; SB=10", (15, True, 10, True)),
    ({"server_max_window_bits": 10}, "PMD; SB=9", (15, True, 9, True)),
    ({"server_max_window_bits": 10}, "PMD; SB=10", (15, True, 10, True)),
    ({"server_max_window_bits": 10}, "PMD; SB=11", "SB is 11 where 10 was offered"),
    ({"server_max_window_bits": 10}, "PMD", "did not agree to SB"),
    # section 7.1.2.2
    ({}, "PMD; CB=15", (15, True, 15, True)),
    ({}, "PMD; CB=9", (9, True, 15, True)),
    ({}, "PMD; CB=8", (8, True, 15, True)),
    ({"client_max_window_bits": 10}, "PMD", (10, True, 15, True)),
    ({"client_max_window_bits": 10}, "PMD; CB=9", (9, True, 15, True)),
    ({"client_max_window_bits": 10}, "PMD; CB=10", (10, True, 15, True)),
    ({"client_max_window_bits": 10}, "PMD; CB=11", "CB is 11 where 10 was offered"),
    # what no answer may have
    ({}, "PMD; CB", "invalid value None for CB"),
    ({}, "PMD; SB", "invalid value None for SB"),
    ({}, "PMD; SB=16", "invalid value '16' for SB"),
    ({}, "PMD; SN=1", "invalid value '1' for SN"),
    ({}, "PMD; CN; CN", "parameter CN twice"),
    ({}, "PMD; foo", "unknown parameter foo"),
    ({}, "PMD, PMD", "accepted PMD twice"),
    ({}, "foo", "accepted foo, which was not offered"),
    ({}, "PMD;", "expected a parameter name"),
]


@pytest.mark.parametrize(("options", "answer", "expected"), CLIENT)
def test_client(options: dict[str, Any], answer: str, expected: tuple[int, bool, int, bool] | str) -> None:
    factory = PerMessageDeflate(**options)
    if isinstance(expected, str):
        with pytest.raises(HandshakeError) as caught:
            negotiate_client([factory], [long(answer)])
        assert long(expected) in str(caught.value)
    else:
        (extension,) = negotiate_client([factory], [long(answer)])
        assert state(extension) == expected
        assert extension.factory is factory


def test_client_without_an_answer() -> None:
    assert negotiate_client([PerMessageDeflate()], []) == []
    assert negotiate_client([], []) == []


class TestSeveralExtensions:
    def test_the_answer_follows_the_clients_order(self) -> None:
        factories = [Factory("foo", "2"), Factory("bar", "3"), PerMessageDeflate()]
        offers = ["x", "permessage-deflate; client_max_window_bits, bar", "foo; a=1", "permessage-deflate"]
        extensions, header = negotiate_server(factories, offers)
        assert header == "permessage-deflate, bar, foo; a=1"
        assert [extension.factory for extension in extensions] == [factories[2], factories[1], factories[0]]

    def test_repeated_lines_count_as_one(self) -> None:
        """Ktor reads the first line only (SPEC 1.12, D13)."""
        extensions, header = negotiate_server([Factory("foo"), Factory("bar")], ["foo", "bar"])
        assert header == "foo, bar"
        assert len(extensions) == 2

    def test_one_declined(self) -> None:
        extensions, header = negotiate_server([Factory("foo"), Factory("bar")], ["foo; no, bar; x"])
        assert header == "bar; x"
        assert [extension.name for extension in extensions] == ["bar"]

    def test_nothing_in_common(self) -> None:
        assert negotiate_server([Factory("foo")], ["bar"]) == ([], None)
        assert negotiate_server([Factory("foo")], []) == ([], None)
        assert negotiate_server([], ["bar"]) == ([], None)

    def test_a_malformed_header_is_400_even_where_nothing_is_installed(self) -> None:
        with pytest.raises(HandshakeError) as caught:
            negotiate_server([], ["foo bar"])
        assert caught.value.status == 400

    def test_client(self) -> None:
        factories = [Factory("foo"), PerMessageDeflate(server_no_context_takeover=True)]
        assert client_offer_header(factories) == (
            "foo, permessage-deflate; server_no_context_takeover; client_max_window_bits"
        )
        extensions = negotiate_client(factories, ["permessage-deflate; server_no_context_takeover", "foo"])
        assert [extension.name for extension in extensions] == [PMD, "foo"]
        assert client_offer_header([]) is None


BITS = st.none() | st.integers(9, 15)
CONFIGURATIONS = st.builds(
    PerMessageDeflate,
    client_no_context_takeover=st.booleans(),
    server_no_context_takeover=st.booleans(),
    server_max_window_bits=BITS,
    client_max_window_bits=BITS,
)


@given(CONFIGURATIONS, CONFIGURATIONS)
def test_both_sides_of_ours_always_agree_on_the_same_windows(
    server: PerMessageDeflate, client: PerMessageDeflate
) -> None:
    offer = client_offer_header([client])
    assert offer is not None
    (one,), answer = negotiate_server([server], [offer])
    assert answer is not None
    (other,) = negotiate_client([client], [answer])
    send_bits, send_kept, receive_bits, receive_kept = state(one)
    assert (receive_bits, receive_kept, send_bits, send_kept) == state(other)
