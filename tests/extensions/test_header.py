"""Sec-WebSocket-Extensions, RFC 6455 section 9.1."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiohttp_rawws.errors import HandshakeError
from aiohttp_rawws.extensions.header import (
    MAX_HEADER_SIZE,
    WebSocketExtensionHeader,
    format_extensions,
    parse_extensions,
)

H = WebSocketExtensionHeader

WELL_FORMED = {
    "one": (["foo"], [H("foo")]),
    "two": (["foo, bar"], [H("foo"), H("bar")]),
    "no space": (["foo;a;b=1,bar"], [H("foo", [("a", None), ("b", "1")]), H("bar")]),
    "space and tabs": ([" \tfoo \t; \ta \t=\t 1\t ,\tbar "], [H("foo", [("a", "1")]), H("bar")]),
    "quoted": (['foo; a="10"'], [H("foo", [("a", "10")])]),
    "quoted with an escape": ([r'foo; a="\1\0"'], [H("foo", [("a", "10")])]),
    "quoted then more": (['foo; a="x" ; b, bar'], [H("foo", [("a", "x"), ("b", None)]), H("bar")]),
    "same name twice": (["foo; a=1, foo"], [H("foo", [("a", "1")]), H("foo")]),
    "same parameter twice": (["foo; a=1; a"], [H("foo", [("a", "1"), ("a", None)])]),
    "order kept": (["z; b; a", "y"], [H("z", [("b", None), ("a", None)]), H("y")]),
    "repeated lines": (["foo; a", "bar", "foo"], [H("foo", [("a", None)]), H("bar"), H("foo")]),
    "empty elements": ([",, foo , ,bar,"], [H("foo"), H("bar")]),
    "empty line among others": (["", "foo", ""], [H("foo")]),
    "every token character": (["!#$%&'*+-.^_`|~09azAZ"], [H("!#$%&'*+-.^_`|~09azAZ")]),
    "nothing": ([], []),
    "an empty value": ([""], []),
    "only commas": ([" , ,"], []),
}

MALFORMED = {
    "space in a name": ("foo bar", "expected ';', ',' or the end at character 5, found 'bar'"),
    "no name": ("; a", "expected an extension name at character 1, found '; a'"),
    "no parameter": ("foo;", "expected a parameter name at character 5, found the end"),
    "empty parameter": ("foo; ; a", "expected a parameter name at character 6, found '; a'"),
    "no parameter before a comma": ("foo;, bar", "expected a parameter name at character 5, found ', bar'"),
    "no value": ("foo; a=", "expected a value for parameter a at character 8, found the end"),
    "two values": ("foo; a=1=2", "expected ';', ',' or the end at character 9, found '=2'"),
    "value without a name": ("foo; =1", "expected a parameter name at character 6, found '=1'"),
    "open quote": ('foo; a="1', "expected a complete quoted string for parameter a at character 8"),
    "open quote, escape at the end": ('foo; a="1\\', "a complete quoted string for parameter a"),
    "escaped closing quote": (r'foo; a="1\"', "a complete quoted string for parameter a"),
    "text behind a quoted string": ('foo; a="1"2', "expected ';', ',' or the end at character 11, found '2'"),
    "empty quotes": ('foo; a=""', "expected a token inside the quotes for parameter a at character 8"),
    "comma in quotes": ('foo; a="1,2"', "expected a token inside the quotes for parameter a"),
    "escaped quote in quotes": (r'foo; a="1\"2"', "expected a token inside the quotes for parameter a"),
    "control character": ("foo\x00", r"expected ';', ',' or the end at character 4, found '\x00'"),
    "line feed": ("foo;\na", r"expected a parameter name at character 5, found '\na'"),
    "not ASCII": ("f\u00f6\u00f6", r"at character 2, found '\xf6\xf6'"),
    "a slash": ("x/y", "at character 2, found '/y'"),
    "a quoted name": ('"foo"', "expected an extension name at character 1"),
}


@pytest.mark.parametrize("name", WELL_FORMED)
def test_parse(name: str) -> None:
    lines, expected = WELL_FORMED[name]
    assert parse_extensions(lines) == expected
    assert parse_extensions(iter(lines)) == expected
    assert parse_extensions([format_extensions(expected)]) == expected


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name: str) -> None:
    value, text = MALFORMED[name]
    with pytest.raises(HandshakeError) as caught:
        parse_extensions([value])
    assert caught.value.status == 400
    assert str(caught.value).startswith("Sec-WebSocket-Extensions: ")
    assert text in str(caught.value)


def test_malformed_in_a_later_line_is_counted_over_the_joined_value() -> None:
    with pytest.raises(HandshakeError, match="at character 6, found '; b'"):
        parse_extensions(["foo", "; b"])


def test_format() -> None:
    assert format_extensions([H("foo", [("a", "1"), ("b", None)]), H("bar")]) == "foo; a=1; b, bar"
    assert format_extensions([]) == ""


def test_header_is_a_value() -> None:
    header = H("foo", [("a", "1"), ("b", None)])
    assert header == H("foo", iter([("a", "1"), ("b", None)]))
    assert hash(header) == hash(H("foo", (("a", "1"), ("b", None))))
    assert header != H("foo", [("b", None), ("a", "1")])
    assert header != H("bar", [("a", "1"), ("b", None)])
    assert header != "foo; a=1; b"
    assert header.parse_parameters() == {"a": "1", "b": None}
    assert repr(header) == "<WebSocketExtensionHeader foo; a=1; b>"
    with pytest.raises(AttributeError):
        header.name = "x"  # type: ignore[misc]
    match header:
        case WebSocketExtensionHeader("foo", (("a", one), _)):
            assert one == "1"
        case _:
            pytest.fail("the header does not match its own pattern")


def test_a_parameter_given_twice_is_not_parsed_into_a_mapping() -> None:
    with pytest.raises(HandshakeError, match="foo has parameter a twice") as caught:
        H("foo", [("a", "1"), ("a", "1")]).parse_parameters()
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("", []), ("a b", []), ("a,b", []), ("a", [("", None)]), ("a", [("b;", None)]), ("a", [("b", "")]),
     ("a", [("b", 'x"')]), ("a", [("b", "1\r\nX: y")])],
)  # fmt: skip
def test_what_cannot_be_written_is_refused(name: str, parameters: list[tuple[str, str | None]]) -> None:
    with pytest.raises(ValueError, match="must be a token"):
        H(name, parameters)


def test_size_limit() -> None:
    for excess in (-1, 0):
        assert len(parse_extensions(["x" * (MAX_HEADER_SIZE + excess)])) == 1
    with pytest.raises(HandshakeError, match="more than 16384 characters") as caught:
        parse_extensions(["x" * (MAX_HEADER_SIZE + 1)])
    assert caught.value.status == 400
    with pytest.raises(HandshakeError):
        parse_extensions(["x" * 100] * 200)


@pytest.mark.parametrize(
    "piece",
    ["a,", "a;", ",", " ", "a;b=\"", "a;b=\"\\", "a;b=\"\\\\", "a ", "a;b=c;", "a;b=\"\\a\\", ";", "=", "\t \t,"],
)  # fmt: skip
def test_hostile_input_takes_linear_time(piece: str) -> None:
    value = (piece * MAX_HEADER_SIZE)[:MAX_HEADER_SIZE]
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        try:
            parse_extensions([value])
        except HandshakeError:
            pass
        best = min(best, time.process_time() - started)
    assert best < 1  # measured: below 0.02; anything quadratic takes seconds


TOKENS = st.text("!#$%&'*+-.^_`|~0123456789abcXYZ", min_size=1, max_size=8)
HEADERS = st.builds(H, TOKENS, st.lists(st.tuples(TOKENS, st.none() | TOKENS), max_size=4))


@given(st.lists(HEADERS, max_size=4))
def test_round_trip(headers: list[H]) -> None:
    assert parse_extensions([format_extensions(headers)]) == headers
    assert parse_extensions(map(str, headers)) == headers


@given(st.text('ab=;, "\\\t\x00\xe9', max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        headers = parse_extensions([text])
    except HandshakeError as error:
        assert error.status == 400
    else:
        assert parse_extensions([format_extensions(headers)]) == headers
