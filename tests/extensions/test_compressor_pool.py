"""Compressors that connections without context takeover share: nothing of one shows in what another sends."""

from __future__ import annotations

import json
import random
import threading
import zlib
from typing import Any

import pytest

from aiohttp_rawws.extensions.compressor_pool import MAX_KEPT, CompressorPool
from aiohttp_rawws.extensions.deflate import SMALL, PerMessageDeflate, WebSocketDeflateExtension
from aiohttp_rawws.extensions.inflate import TAIL
from aiohttp_rawws.extensions.negotiation import negotiate_server
from aiohttp_rawws.wire.codec import Frame

from ..tools.zlib_backends import BACKENDS

LEVELS = {"zlib": range(-1, 10), "isal.isal_zlib": range(4), "zlib_ng.zlib_ng": range(-1, 10)}
NO_TAKEOVER = "permessage-deflate; server_no_context_takeover"


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def connect(factory: PerMessageDeflate, offer: str = NO_TAKEOVER) -> WebSocketDeflateExtension:
    """The server's side of a new connection."""
    (extension,), _ = negotiate_server([factory], [offer])
    assert isinstance(extension, WebSocketDeflateExtension)
    return extension


def send(extension: WebSocketDeflateExtension, *fragments: bytes) -> bytes:
    """A message, compressed."""
    last = len(fragments) - 1
    return b"".join(
        extension.process_outgoing(Frame.binary(fragment, fin=number == last)).payload
        for number, fragment in enumerate(fragments)
    )


def inflated(payload: bytes) -> bytes:
    """By a peer that knows nothing of other messages."""
    return zlib.decompressobj(-15).decompress(payload + TAIL)


class Spy:
    """A backend that counts the compressors it made, and lets them fail on demand, or if two use one at a time."""

    def __init__(self) -> None:
        self.made: list[SpiedCompressor] = []
        self.failing = ""

    def compressobj(self, **options: Any) -> SpiedCompressor:
        self.made.append(SpiedCompressor(self, **options))
        return self.made[-1]

    decompressobj = staticmethod(zlib.decompressobj)

    def used(self) -> list[SpiedCompressor]:
        """Those that have had a message of more than what a configuration tries itself out with."""
        return [compressor for compressor in self.made if compressor.longest > 1000]


class SpiedCompressor:
    def __init__(self, spy: Spy, **options: Any) -> None:
        self.spy = spy
        self.options = options
        self.longest = 0
        self.compressor = zlib.compressobj(**options)
        self.in_use = threading.Lock()

    def compress(self, data: bytes) -> bytes:
        self.longest = max(self.longest, len(data))
        return self._call("compress", data)

    def flush(self, mode: int = zlib.Z_FINISH) -> bytes:
        return self._call("flush", mode)

    def _call(self, name: str, argument: Any) -> bytes:
        assert self.in_use.acquire(blocking=False), "used by two at a time"
        try:
            if self.spy.failing == name:
                raise MemoryError
            result: bytes = getattr(self.compressor, name)(argument)
            return result
        finally:
            self.in_use.release()


class WithoutFullFlush:
    """A backend that looks back over a full flush."""

    @staticmethod
    def compressobj(**options: Any) -> Any:
        class Compressor:
            def __init__(self) -> None:
                compressor = zlib.compressobj(**options)
                self.compress = compressor.compress
                self.flush = lambda mode: compressor.flush(zlib.Z_SYNC_FLUSH)

        return Compressor()

    decompressobj = staticmethod(zlib.decompressobj)


def messages() -> list[list[bytes]]:
    """Of all kinds and sizes, in fragments now and then, and each of them twice."""
    source = random.Random(11)
    record = json.dumps({"name": "somebody", "secret": source.randbytes(8).hex(), "numbers": list(range(300))}).encode()
    whole = [b"", b"a", b"Hello", record[:100], record, record * 100, bytes(70_000)]
    whole += [source.randbytes(size) for size in (20, 1000, 40_000)]
    cut = [[b"", b""], [b"x", b""], [b"", record, b"", record], [bytes(40_000), record * 30]]
    mixed = [[message] for message in whole] + cut
    mixed *= 2
    source.shuffle(mixed)
    return mixed


class TestIndependence:
    @pytest.mark.parametrize(("bits", "mem_level"), [(15, None), (15, 9), (12, 5), (9, 1)])
    def test_a_message_is_what_it_would_be_alone(self, backend: Any, bits: int, mem_level: int | None) -> None:
        offer = f"{NO_TAKEOVER}; server_max_window_bits={bits}"
        for level in LEVELS[backend.__name__]:
            factory = PerMessageDeflate(backend=backend, compression_level=level, mem_level=mem_level)
            connections = [connect(factory, offer) for _ in range(3)]
            for number, message in enumerate(messages()):
                payload = send(connections[number % 3], *message)
                assert inflated(payload) == b"".join(message)
                assert payload == send(connect(factory.replace(), offer), *message)

    def test_a_guess_tells_nothing(self, backend: Any) -> None:
        """The length of a guess, behind a secret of somebody else."""
        factory = PerMessageDeflate(backend=backend)
        guesses = [f"token={random.Random(seed).randbytes(16).hex()}".encode() for seed in range(20)]
        alone = [send(connect(factory.replace()), guess) for guess in guesses]
        attacker, victim = connect(factory), connect(factory)
        for guess, expected in zip(guesses, alone):
            send(victim, b'{"headers": "' + guesses[7] + b'"}')
            assert send(attacker, guess) == expected

    def test_a_backend_that_looks_back_shares_nothing(self) -> None:
        factory = PerMessageDeflate(backend=WithoutFullFlush)
        one, other = connect(factory), connect(factory)
        for message in messages():
            assert send(one, *message) == send(other, *message)
            assert inflated(send(one, *message)) == b"".join(message)
            assert factory.compressor_pool(15).take() is None

    def test_looking_back_is_noticed(self, backend: Any) -> None:
        for level in (1, 2, 3):
            pool = CompressorPool(backend.compressobj(level=level, wbits=-9, memLevel=1), backend.Z_SYNC_FLUSH)
            pool.give_back(backend.compressobj())
            assert pool.take() is None
            pool = CompressorPool(backend.compressobj(level=level, wbits=-9, memLevel=1), backend.Z_FULL_FLUSH)
            pool.give_back(backend.compressobj())
            assert pool.take() is not None


class TestSharing:
    def test_one_compressor_does_for_all_connections(self) -> None:
        spy = Spy()
        factory = PerMessageDeflate(backend=spy)
        connections = [connect(factory) for _ in range(20)]
        del spy.made[:]
        for connection in connections * 3:
            assert inflated(send(connection, b"Hello")) == b"Hello"
        assert len(spy.made) == 1

    def test_window_bits_and_configurations_have_their_own(self) -> None:
        factory = PerMessageDeflate()
        pools = [factory.compressor_pool(15), factory.compressor_pool(9), factory.replace().compressor_pool(15)]
        assert len(set(pools)) == 3
        assert factory.compressor_pool(15) is pools[0]

    def test_few_are_kept(self) -> None:
        spy = Spy()
        factory = PerMessageDeflate(backend=spy)
        connections = [connect(factory) for _ in range(MAX_KEPT + 3)]
        del spy.made[:]
        for _ in range(2):
            begun = [connection.process_outgoing(Frame.binary(b"be", fin=False)) for connection in connections]
            ended = [connection.process_outgoing(Frame.binary(b"gun")) for connection in connections]
            for first, last in zip(begun, ended):
                assert inflated(first.payload + last.payload) == b"begun"
        assert len(spy.made) == MAX_KEPT + 3 + 3

    def test_with_context_none_is_borrowed(self) -> None:
        factory = PerMessageDeflate()
        one, other = connect(factory, "permessage-deflate"), connect(factory, "permessage-deflate")
        assert send(one, b"Hello") == send(other, b"Hello")
        assert len(send(one, b"Hello")) < len(send(connect(factory), b"Hello"))
        assert factory.compressor_pool(15, small=True).take() is not None
        assert factory.compressor_pool(15, small=True).take() is None
        assert factory.compressor_pool(15).take() is None

    @pytest.mark.parametrize(("size", "level"), [(SMALL - 1, 5), (SMALL, 5), (SMALL + 1, None)])
    @pytest.mark.parametrize("mem_level", [None, 3])
    def test_small_messages_get_compressors_with_a_small_table(
        self, size: int, level: int | None, mem_level: int | None
    ) -> None:
        spy = Spy()
        factory = PerMessageDeflate(backend=spy, mem_level=mem_level)
        connection = connect(factory)
        text = random.Random(size).randbytes(size)
        for _ in range(2):
            assert inflated(send(connection, text)) == text
        assert {one.options.get("memLevel") for one in spy.used()} == {level if mem_level is None else mem_level}

    def test_a_message_in_fragments_has_its_own(self) -> None:
        factory = PerMessageDeflate()
        one, other = connect(factory), connect(factory)
        first = one.process_outgoing(Frame.binary(b"one, ", fin=False)).payload
        assert inflated(send(other, b"in between")) == b"in between"
        second = one.process_outgoing(Frame.binary(b"two, ", fin=False)).payload
        assert inflated(send(other, b"in", b" between")) == b"in between"
        last = one.process_outgoing(Frame.binary(b"three")).payload
        assert inflated(first + second + last) == b"one, two, three"

    def test_that_of_an_abandoned_message_is_not_given_back(self) -> None:
        factory = PerMessageDeflate()
        connection = connect(factory)
        connection.process_outgoing(Frame.binary(b"never finished", fin=False))
        del connection
        assert factory.compressor_pool(15).take() is None

    @pytest.mark.parametrize("offer", [NO_TAKEOVER, "permessage-deflate"])
    @pytest.mark.parametrize("begun", [False, True])
    @pytest.mark.parametrize("failing", ["compress", "flush"])
    def test_one_that_raised_is_not_used_again(self, failing: str, begun: bool, offer: str) -> None:
        spy = Spy()
        factory = PerMessageDeflate(backend=spy)
        connection = connect(factory, offer)
        send(connection, b"before")
        if begun:
            connection.process_outgoing(Frame.binary(b"begun", fin=False))
        spy.failing = failing
        with pytest.raises(MemoryError):
            connection.process_outgoing(Frame.binary(b"lost"))
        spy.failing = ""
        if offer == NO_TAKEOVER:
            assert factory.compressor_pool(15).take() is None
        assert inflated(send(connection, b"behind")) == b"behind"

    def test_in_threads(self) -> None:
        spy = Spy()
        factory = PerMessageDeflate(backend=spy)
        whole = [message for message in messages() if sum(map(len, message)) < 50_000]
        expected = [send(connect(factory.replace(backend=zlib)), *message) for message in whole]
        results: list[list[bytes]] = []

        def work() -> None:
            connection = connect(factory)
            results.append([send(connection, *message) for message in whole])

        threads = [threading.Thread(target=work) for _ in range(MAX_KEPT + 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [expected] * len(threads)
