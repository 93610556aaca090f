"""Compressors that connections share if no message builds on another (RFC 7692, section 7.1.1)."""

from __future__ import annotations

from collections import deque

from .inflate import Compressor

# The loop needs one at a time; the others are for messages in fragments and for threads. More would save little: a
# message that goes to a thread is large, and takes far longer to compress than a compressor to make. And peers choose
# among seven window sizes, each of which may come to keep as many.
MAX_KEPT = 4

# Random bytes: they only compress if an earlier copy is still in the window.
_SAMPLE = bytes.fromhex("8f1b6e03d74ac2a59e3057f16c28b40de2937a15cf4880bb5601ee7dd96434a2")


class CompressorPool:
    """Compressors of one kind, each lent to one message at a time. Any thread may take them and give them back.

    A message must not depend on those before it, which may be another connection's: how well it compresses would reveal
    them. So a message ends with a full flush, behind which zlib does not look back. If a backend does so nevertheless,
    no compressor is kept.

    Attributes:
        full_flush: The backend's Z_FULL_FLUSH.
    """

    def __init__(self, compressor: Compressor, full_flush: int) -> None:
        """
        Args:
            compressor: A compressor of this kind. It is used to find out whether a full flush clears the window.
            full_flush: The backend's Z_FULL_FLUSH.
        """
        self.full_flush = full_flush
        # A deque adds and removes in one step and keeps its limit, also without the GIL.
        self._kept: deque[Compressor] = deque(maxlen=MAX_KEPT if _forgets(compressor, full_flush) else 0)

    def take(self) -> Compressor | None:
        """Take a compressor for the next message. None: all are in use, and the caller makes one."""
        try:
            return self._kept.pop()  # the last one given back: its memory may still be in the processor's cache
        except IndexError:
            return None

    def give_back(self, compressor: Compressor) -> None:
        """Give back a compressor that others may use. Only behind a full flush: drop one with an unfinished message."""
        self._kept.append(compressor)


def _forgets(compressor: Compressor, full_flush: int) -> bool:
    first, second = (compressor.compress(_SAMPLE) + compressor.flush(full_flush) for _ in range(2))
    return first == second
