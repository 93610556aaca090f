"""Compressors that connections share, where no message builds on another (RFC 7692, section 7.1.1)."""

from __future__ import annotations

from collections import deque

from .inflate import Compressor

# The loop needs one at a time; the others are for messages in fragments and in threads. More would save little: what
# goes to a thread is large, and compressing it takes far longer than making a compressor. And peers choose among seven
# window sizes, each of which may come to keep as many.
MAX_KEPT = 4

# Noise, which gets shorter in one way only: by being found in what came before.
_SAMPLE = bytes.fromhex("8f1b6e03d74ac2a59e3057f16c28b40de2937a15cf4880bb5601ee7dd96434a2")


class CompressorPool:
    """Compressors of one kind, each lent to one message at a time. Any thread may take them and give them back.

    What a message becomes must not depend on the ones before it, which may be another connection's: how well it
    compresses would tell about them. So a message ends with a full flush, behind which zlib looks back no further.
    Where a backend does so all the same, nothing is kept.

    compressor: one of this kind, used up to find that out.
    full_flush: the backend's Z_FULL_FLUSH.
    """

    def __init__(self, compressor: Compressor, full_flush: int) -> None:
        self.full_flush = full_flush
        # A deque adds, removes and keeps to its bound in one step, without the GIL too.
        self._kept: deque[Compressor] = deque(maxlen=MAX_KEPT if _forgets(compressor, full_flush) else 0)

    def take(self) -> Compressor | None:
        """One for the next message; None if all are taken, and the borrower has to make one."""
        try:
            return self._kept.pop()  # the last one given back: its memory may still be in the processor's cache
        except IndexError:
            return None

    def give_back(self, compressor: Compressor) -> None:
        """Have others use it. Only behind a full flush: one that holds an unfinished message is dropped instead."""
        self._kept.append(compressor)


def _forgets(compressor: Compressor, full_flush: int) -> bool:
    first, second = (compressor.compress(_SAMPLE) + compressor.flush(full_flush) for _ in range(2))
    return first == second
