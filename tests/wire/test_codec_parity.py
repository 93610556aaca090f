"""The two codecs do the same with the same bytes: results, errors and their texts, state."""

from __future__ import annotations

import importlib
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiohttp_rawws import _build
from aiohttp_rawws.wire.codec import encode_header
from aiohttp_rawws.wire.strictness import VALUES, Strictness

from ..tools.environment import environment
from ..tools.twins import CODECS
from .vectors import seen

BUILT = any(map(_build.compiled_file, _build.MODULES))


def test_the_compiled_core_is_used_unless_switched_off() -> None:
    if os.environ.get("AIOHTTP_RAWWS_NO_EXTENSIONS"):
        assert not _build.COMPILED
    elif os.environ.get("AIOHTTP_RAWWS_REQUIRE_COMPILED"):
        assert _build.COMPILED
    else:
        assert _build.COMPILED == BUILT
    for module in _build.MODULES:
        used = importlib.import_module(f"aiohttp_rawws.{module}").__file__
        assert used is not None and used.endswith(".py") is not _build.COMPILED


def test_it_can_be_switched_off() -> None:
    script = "from aiohttp_rawws._build import COMPILED; raise SystemExit(COMPILED)"
    variables = environment(AIOHTTP_RAWWS_NO_EXTENSIONS="1")
    subprocess.run([sys.executable, "-c", script], env=variables, check=True, timeout=30)


def test_required_and_switched_off_is_an_import_error() -> None:
    variables = os.environ | dict.fromkeys(_build.VARIABLES, "1")
    done = subprocess.run(
        [sys.executable, "-c", "import aiohttp_rawws"], env=variables, capture_output=True, text=True, timeout=30
    )
    assert done.returncode
    assert "are both set, and contradict each other" in done.stderr


def test_both_have_the_same_names() -> None:
    for name in ("FrameParser", "FrameEncoder"):
        public = [{n for n in dir(getattr(codec, name)) if not n.startswith("_")} for codec in CODECS.values()]
        attributes = {
            "strict",
            "masked",
            "masking",
            "error",
            "closed",
            "size",
            "missing",
        }  # of instances only, in Python
        assert all(names - attributes == public[0] - attributes for names in public)


def outcome(call: Any, *arguments: Any, **options: Any) -> Any:
    try:
        return call(*arguments, **options)
    except Exception as exc:
        return type(exc), str(exc)


def plain(module: ModuleType, items: Any) -> list[Any]:
    return [
        seen(item) if isinstance(item, module.Frame) else (str(item.header), item.payload, item.offset, item.last)
        for item in items
    ]


def state(parser: Any) -> Any:
    error = parser.error
    target = parser.target()
    return (
        parser.pending,
        parser.mid_frame,
        parser.closed,
        type(error),
        str(error),
        None if target is None else len(target),
    )


def parse(module: ModuleType, options: dict[str, Any], steps: list[tuple[Any, ...]]) -> list[Any]:
    parser = module.FrameParser(**options)
    log: list[Any] = []
    for data, max_frames, max_bytes, in_place in steps:
        target = parser.target() if in_place else None
        if target is None:
            items = parser.feed(data, -1, max_frames, max_bytes)
        else:
            count = min(len(data), len(target))
            target[:count] = data[:count]
            del target
            items = parser.advance(count) + parser.feed(data[count:], -1, max_frames, max_bytes)
        log.append((plain(module, items), state(parser)))
    return log


limits = st.none() | st.sampled_from([0, 1, 10, 125, 126, 1000, 65535, 65536])
options = st.fixed_dictionaries(
    {
        "masked": st.sampled_from([None, None, True, False]),
        "strict": st.sampled_from(VALUES),
        "max_frame_size": limits,
        "chunk_above": st.none() | limits,
    }
)
sizes = st.integers(0, 20) | st.sampled_from([124, 125, 126, 127, 65535, 65536, 16 * 1024 + 40, 70_000])


@st.composite
def wires(draw: st.DrawFn) -> bytes:
    """Frames that are mostly right, with now and then a bit of the header turned round."""
    parts = []
    for _ in range(draw(st.integers(1, 6))):
        size = draw(sizes)
        key = draw(st.none() | st.binary(min_size=4, max_size=4))
        opcode = draw(st.sampled_from([0, 1, 2, 2, 2, 9, 10, 8, 3, 12]))
        header = bytearray(
            encode_header(opcode, size, fin=draw(st.booleans()), rsv1=draw(st.booleans()), masking_key=key)
        )
        if draw(st.integers(0, 9)) == 0:
            header[draw(st.integers(0, len(header) - 1))] ^= 1 << draw(st.integers(0, 7))
        payload = draw(st.binary(min_size=min(size, 8), max_size=min(size, 8)))
        parts.append(bytes(header) + (payload * (size // 8 + 1))[:size])
    return b"".join(parts)


@st.composite
def feeds(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """One stream, cut anywhere, with the arguments of ``feed`` for each piece."""
    stream = draw(wires() | st.binary(max_size=60))
    cuts = draw(st.lists(st.integers(0, len(stream)) | st.integers(0, min(len(stream), 20)), max_size=8))
    bounds = [0, *sorted(cuts), len(stream)]
    pieces = [stream[start:stop] for start, stop in itertools.pairwise(bounds)]
    budget = st.sampled_from([-1, -1, -1, 0, 1, 2, 50])
    steps = [(piece, draw(budget), draw(budget), draw(st.booleans())) for piece in pieces]
    return [*steps, (b"", 1, -1, False), (b"", -1, -1, False)]


CALLS = "append append encode append_header prepare take append_bytes unmask mask begin piece piece"
outgoing = st.tuples(
    st.integers(-1, 17),
    st.binary(max_size=10) | sizes.map(bytes),
    st.booleans(),
    st.none() | st.integers(0, 9),
    st.sampled_from(CALLS.split()),
)


def encode(codec: ModuleType, strict: Strictness, steps: list[Any]) -> list[Any]:
    encoder = codec.FrameEncoder(masking=False, strict=strict, new_masking_key=lambda: b"\x01\x02\xfe\xff")
    log: list[Any] = []
    for opcode, payload, fin, kind, call in steps:
        if call == "take":
            result = encoder.take()
        elif call == "append_bytes":
            result = encoder.append_bytes(payload)
        elif call == "piece":
            result = outcome(encoder.piece, payload)
        elif call.endswith("mask"):
            encoder.masking = call == "mask"
            result = None
        else:
            result = outcome(codec.Frame, opcode, payload, fin=fin, kind=kind)
            if isinstance(result, codec.Frame):
                if call == "begin":
                    result = outcome(encoder.begin, outcome(codec.Frame, opcode, fin=fin, kind=kind), len(payload) * 2)
                elif call == "prepare":
                    result = outcome(codec.PreparedFrame, result)
                    if isinstance(result, codec.PreparedFrame):
                        result = outcome(encoder.append, result)
                else:
                    result = outcome(getattr(encoder, call), result)
        log.append((result, encoder.size, encoder.mid_message, encoder.missing, encoder.masking))
    return [*log, encoder.take()]


# Without the compiled codec there is nothing to compare with, and only the reference runs through its paces.
@settings(max_examples=400, deadline=None)
@given(options, feeds())
def test_parsers(options: dict[str, Any], steps: list[tuple[Any, ...]]) -> None:
    logs = [parse(codec, options, steps) for codec in CODECS.values()]
    assert all(log == logs[0] for log in logs)


def frame_bytes(opcode: int, size: int, *, fin: bool = True, key: bytes | None = None) -> bytes:
    payload = bytes(range(1, 252)) * (size // 251 + 1)
    return encode_header(opcode, size, fin=fin, masking_key=key) + payload[:size]


# Short streams in which a frame that is open ends beside frames of every kind.
STREAMS = {
    "fragments": frame_bytes(2, 5, fin=False) + frame_bytes(0, 0, fin=False) + frame_bytes(0, 3) + frame_bytes(1, 1),
    "masked": frame_bytes(1, 4, key=b"1234") + frame_bytes(2, 0, key=b"abcd") + frame_bytes(2, 2, key=b"\0\0\0\0"),
    "control": frame_bytes(2, 6, fin=False) + frame_bytes(9, 4) + frame_bytes(0, 0) + frame_bytes(10, 0),
    "close": frame_bytes(2, 3) + frame_bytes(8, 2) + frame_bytes(2, 3),
    "refused": frame_bytes(1, 3, fin=False) + frame_bytes(2, 2) + frame_bytes(2, 1),
    "16 bits": frame_bytes(2, 130) + frame_bytes(2, 0) + frame_bytes(1, 126),
}
BUDGETS = list(itertools.product((-1, 0, 1, 2), (-1, 0, 1, 2, 6)))


@pytest.mark.parametrize("strict", VALUES)
@pytest.mark.parametrize("chunk_above", [None, 0, 3])
@pytest.mark.parametrize("name", STREAMS)
def test_limits_at_every_cut(name: str, chunk_above: int | None, strict: Strictness) -> None:
    """An open frame goes on; no other is begun once so many items or bytes were produced."""
    stream = STREAMS[name]
    cuts = [cut for cut in range(len(stream) + 1) if cut < 25 or cut % 7 == 0 or cut > len(stream) - 10]
    for cut, (max_frames, max_bytes) in itertools.product(cuts, BUDGETS):
        logs = []
        for codec in CODECS.values():
            parser = codec.FrameParser(masked=None, strict=strict, chunk_above=chunk_above)
            log = [(plain(codec, parser.feed(stream[:cut], -1, 1, -1)), state(parser))]
            for data in (stream[cut:], b"", b""):
                was_open = parser.mid_frame and not parser.pending
                items = parser.feed(data, -1, max_frames, max_bytes)
                begun = items[1:] if was_open else items  # the first item may be of the frame that was open
                if begun:
                    before = items[: len(items) - 1]
                    assert max_frames < 0 or len(before) < max_frames
                    assert max_bytes < 0 or sum(len(item.payload) for item in before) < max_bytes
                log.append((plain(codec, items), state(parser)))
            log.append((plain(codec, parser.feed(b"")), state(parser)))
            logs.append(log)
        assert all(log == logs[0] for log in logs), (cut, max_frames, max_bytes)


@pytest.mark.parametrize("size", [16 * 1024 + 10, 64 * 1024, 70_000, 300_000, 1_200_000])
@pytest.mark.parametrize("first", [14, 22, 40_000, 66_000])
@pytest.mark.parametrize("max_frames", [-1, 0, 1, 2])
def test_a_frame_that_is_read_in_place_ends_at_the_same_call(size: int, first: int, max_frames: int) -> None:
    """So the targets are of the same size, too."""
    stream = frame_bytes(2, size, fin=False, key=b"1234") + frame_bytes(2, 0, fin=False, key=b"abcd") * 2
    logs = []
    for codec in CODECS.values():
        parser = codec.FrameParser(strict=False)
        log: list[Any] = [plain(codec, parser.feed(stream[:first])), state(parser)]
        position = min(first, len(stream))
        while position < len(stream):
            target = parser.target()
            count = min(100_000, len(stream) - position)
            if target is None:
                items = parser.feed(stream[position : position + count], -1, max_frames, -1)
            else:
                count = min(count, len(target))
                target[:count] = stream[position : position + count]
                del target
                items = parser.advance(count)
            position += count
            log.append((position, plain(codec, items), state(parser)))
        log.append((plain(codec, parser.feed(b"")), state(parser)))
        logs.append(log)
    assert all(log == logs[0] for log in logs)


@settings(max_examples=200, deadline=None)
@given(options, wires(), st.data())
def test_cuts_make_no_difference(options: dict[str, Any], stream: bytes, data: st.DataObject) -> None:
    """Without chunks, whatever way the bytes come the frames are the same, and so is the end."""
    options = options | {"chunk_above": None}
    position = data.draw(st.integers(0, len(stream)))
    whole, cut = [(stream, -1, -1, False)], [(stream[:position], -1, -1, False), (stream[position:], -1, -1, True)]
    for codec in CODECS.values():
        logs = [parse(codec, options, steps) for steps in (whole, cut)]
        frames = [[item for items, _ in log for item in items] for log in logs]
        assert frames[0] == frames[1]
        assert logs[0][-1][1][:5] == logs[1][-1][1][:5]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(VALUES), st.lists(outgoing, max_size=12))
def test_encoders(strict: Strictness, steps: list[Any]) -> None:
    logs = [encode(codec, strict, steps) for codec in CODECS.values()]
    assert all(log == logs[0] for log in logs)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.binary(min_size=3, max_size=5), st.integers(-1, 20))
def test_masks(payload: bytes, key: bytes, offset: int) -> None:
    results = [outcome(codec.apply_mask, payload, key, offset) for codec in CODECS.values()]
    assert all(result == results[0] for result in results)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(-1, 16),
    st.binary(max_size=140),
    st.booleans(),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.none() | st.integers(-1, 16),
)
def test_frames(opcode: int, payload: bytes, fin: bool, rsv: list[bool], kind: int | None) -> None:
    def of(frames: ModuleType) -> Any:
        bits = dict(zip(("rsv1", "rsv2", "rsv3"), rsv, strict=True))
        frame = outcome(frames.Frame, opcode, payload, fin=fin, kind=kind, **bits)
        if not isinstance(frame, frames.Frame):
            return frame
        return (
            seen(frame),
            repr(frame),
            hash(frame),
            outcome(lambda: frame.text),
            frame.close_reason,
            seen(frame.replace()),
        )

    results = [of(codec) for codec in CODECS.values()]
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("call", ["Frame", "FrameParser", "FrameEncoder", "encode_header"])
def test_wrong_arguments(call: str) -> None:
    arguments: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((), {"other": 1}),
        ((1, 2, 3, 4), {}),
        (("1", b""), {}),
        ((1, None), {}),
    ]
    for positional, named in arguments:
        results = [outcome(getattr(codec, call), *positional, **named) for codec in CODECS.values()]
        assert all(result[0] is TypeError for result in results), (positional, named, results)


def copy_of_the_package(to: Path) -> Path:
    """The package with what this Python, and perhaps others, compiled in place."""
    shutil.copytree(_build.ROOT, to / _build.PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    return to


def library_in(root: Path, module: str) -> Path:
    library = _build.compiled_file(module)
    assert library is not None
    return root / _build.PACKAGE / library.relative_to(_build.ROOT)


def imported(root: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    script = "from aiohttp_rawws import _build, Frame; print(_build.COMPILED, Frame.text('x'))"
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=root,
        env=environment(PYTHONPATH=str(root), **variables),
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.skipif(not _build.COMPILED, reason="there is no compiled core to break: make compile builds it")
class TestBrokenCore:
    def test_half_a_core_is_an_import_error_that_names_what_is_missing(self, tmp_path: Path) -> None:
        root = copy_of_the_package(tmp_path)
        library_in(root, "session.queues").unlink()
        done = imported(root)
        assert done.returncode
        assert "ImportError" in done.stderr and "session.queues is missing" in done.stderr
        assert imported(root, AIOHTTP_RAWWS_NO_EXTENSIONS="1").stdout.startswith("False")

    def test_a_module_that_cannot_be_loaded_is_an_import_error(self, tmp_path: Path) -> None:
        root = copy_of_the_package(tmp_path)
        library_in(root, "wire.parser").write_bytes(b"not a library")
        done = imported(root)
        assert done.returncode
        assert "ImportError" in done.stderr

    def test_no_core_at_all_is_python(self, tmp_path: Path) -> None:
        root = copy_of_the_package(tmp_path)
        for library in (root / _build.PACKAGE).rglob("*.so"):
            library.unlink()
        assert imported(root, AIOHTTP_RAWWS_REQUIRE_COMPILED="").stdout.startswith("False <Frame TEXT 'x'>")

    def test_no_core_at_all_is_an_import_error_if_one_is_required(self, tmp_path: Path) -> None:
        root = copy_of_the_package(tmp_path)
        for library in (root / _build.PACKAGE).rglob("*.so"):
            library.unlink()
        done = imported(root, AIOHTTP_RAWWS_REQUIRE_COMPILED="1")
        assert done.returncode
        assert "ImportError: AIOHTTP_RAWWS_REQUIRE_COMPILED is set, and aiohttp_rawws in" in done.stderr
        assert f"has no compiled core for Python {sys.version_info[0]}.{sys.version_info[1]}" in done.stderr

    def test_a_whole_core_satisfies_who_requires_one(self, tmp_path: Path) -> None:
        done = imported(copy_of_the_package(tmp_path), AIOHTTP_RAWWS_REQUIRE_COMPILED="1")
        assert done.stdout.startswith("True")

    def test_none_is_older_than_its_sources(self) -> None:
        """Else the suite would test something that nobody reads. ``make compile`` builds what changed."""
        included = list(_build.ROOT.rglob("*.h"))
        assert included
        for module in _build.MODULES:
            library = _build.compiled_file(module)
            assert library is not None
            for source in included:
                assert library.stat().st_mtime >= source.stat().st_mtime, f"{source.name} has changed"
            for suffix in (".pyx", ".py", ".pxd"):
                source = _build.stem(module).with_suffix(suffix)
                if source.exists() and not (suffix == ".py" and source.with_suffix(".pyx").exists()):
                    assert library.stat().st_mtime >= source.stat().st_mtime, f"{source.name} has changed"

    def test_every_types_file_belongs_to_a_compiled_module(self) -> None:
        typed = {".".join(path.relative_to(_build.ROOT).with_suffix("").parts) for path in _build.ROOT.rglob("*.pxd")}
        assert typed == set(_build.MODULES)
