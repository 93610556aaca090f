"""Many short pumps that end in every way there is. ``make soak`` has a hundred thousand of them."""

from __future__ import annotations

import pytest

from ..soak import pumps


@pytest.mark.loops("asyncio")
async def test_g51_nothing_is_left_after_many_sessions() -> None:
    """No descriptor, no task, no timer, and no memory."""
    assert await pumps.run(200, at_once=5, seed=51) == []
