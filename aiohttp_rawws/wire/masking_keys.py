"""Masking keys (RFC 6455, section 5.3).

One source, two builds: as it stands, and compiled with the types that ``masking_keys.pxd`` adds.
"""

from __future__ import annotations

import os
import secrets
import sys


def checked_key(masking_key: bytes) -> bytes:
    """Return the key if it is 4 bytes long. Otherwise raise ValueError."""
    if len(masking_key) != 4:
        raise ValueError(f"a masking key is 4 bytes long, not {len(masking_key)}")
    return masking_key


# Keys must be unpredictable (section 5.3). Asking the system for many at once costs a hundredth of asking for each. A
# forked child must not use the same ones.
_pool = b""
_used = 0


def new_masking_key() -> bytes:
    """Return 4 bytes from the system's source of randomness."""
    global _pool, _used
    if _used >= len(_pool):
        _pool = secrets.token_bytes(1024)
        _used = 0
    key = _pool[_used : _used + 4]
    _used += 4
    return key


def _forget_pool() -> None:
    global _pool
    _pool = b""


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget_pool)
