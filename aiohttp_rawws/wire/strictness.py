"""The option ``strict``: which rules of RFC 6455, section 5 are enforced."""

from __future__ import annotations

from typing import Literal

Strictness = bool | Literal["hop"]
"""True: all rules. "hop": those between two neighbours on the way, see ``HOP``. False: almost none."""

# As the parser and the encoder compare it.
LENIENT = 0
# A gateway repeats the header, so it has to enforce what that would repair: the direction of masks, the form of
# lengths, and the size of control frames. All other rules are between the two ends, which see every frame as it was.
HOP = 1
STRICT = 2
VALUES: tuple[Strictness, ...] = (False, "hop", True)  # by these numbers


def checked_strictness(value: object) -> int:
    """Return LENIENT, HOP or STRICT for a value of the option. Raise TypeError for any other value."""
    if value is True:
        return STRICT
    if value is False:
        return LENIENT
    if value == "hop":
        return HOP
    raise TypeError(f'strict must be True, False or "hop", not {value!r}')
