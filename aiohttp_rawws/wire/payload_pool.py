"""The memory of large payloads, which the compiled core uses again. The Python core leaves it to Python."""

from __future__ import annotations


def pooled_bytes() -> int:
    """Return how many bytes are kept for payloads to come, and those of payloads that are in use among them.

    At most 16 MiB for the whole process, in payloads of 32 KiB to 4 MiB. The Python core keeps none.
    """
    return 0
