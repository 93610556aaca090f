"""Sessions as files: record what happens on the wire, look at it, and play it again.

Import it as ``from aiohttp_rawws import recording``. ``python -m aiohttp_rawws.recording FILE`` shows a recording.
"""

from .har import to_har
from .lines import read
from .observing import Unsubscribe, observe
from .player import Difference, Pace, Part, ReplayMismatch, Step
from .recorder import Recorder, Redact
from .records import (
    BytesRecord,
    CloseRecord,
    EndRecord,
    Fields,
    FrameRecord,
    HandshakeRequest,
    HandshakeResponse,
    OpenRecord,
    Record,
    Source,
)
from .replaying import Address, replay

__all__ = [
    "Address",
    "BytesRecord",
    "CloseRecord",
    "Difference",
    "EndRecord",
    "Fields",
    "FrameRecord",
    "HandshakeRequest",
    "HandshakeResponse",
    "OpenRecord",
    "Pace",
    "Part",
    "Record",
    "Recorder",
    "Redact",
    "ReplayMismatch",
    "Source",
    "Step",
    "Unsubscribe",
    "observe",
    "read",
    "replay",
    "to_har",
]
