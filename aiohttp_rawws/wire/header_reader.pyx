"""The compiled ``header_reader.py``. It has no behaviour of its own."""

from ..errors import FrameTooBig, ProtocolViolation
from . import _shared as shared
from . import codes
from . import header_bits as bits
from . import strictness

cdef int CONTINUATION = bits.CONTINUATION
cdef int CONTROL = bits.CONTROL
cdef int OPCODE = bits.OPCODE
cdef int FIN = bits.FIN
cdef int MASKED = bits.MASKED
cdef int LENGTH_16 = bits.LENGTH_16
cdef int LENGTH_64 = bits.LENGTH_64
cdef int MAX_CONTROL_PAYLOAD = codes.MAX_CONTROL_PAYLOAD
cdef int STRICT = strictness.STRICT
cdef long long NO_LIMIT = shared.NO_LIMIT
cdef long long LONG_CONTROL = shared.LONG_CONTROL


cdef Py_ssize_t read_header(
    Header* header, const unsigned char* data, Py_ssize_t size, int strict, int masked, long long limit, int message
) except -1:
    """Read the header at ``data``, of which there is one byte at least. ``masked``: -1 means None.

    Returns how long the header is, 0 if it is not complete.
    """
    cdef int head = data[0], number
    cdef Py_ssize_t position = 2
    cdef long long length
    cdef bint is_masked
    if strict == STRICT:
        _check_head(head, message)
    if size < 2:
        return 0
    is_masked = (data[1] & MASKED) != 0
    length = data[1] & 0x7F
    if strict:
        if masked >= 0 and is_masked != masked:
            raise ProtocolViolation(shared.NEEDS_MASK if masked else shared.NEEDS_NO_MASK)
        if head & CONTROL and length > MAX_CONTROL_PAYLOAD:
            raise ProtocolViolation(shared.CONTROL_TOO_LONG)
    if length == LENGTH_16:
        if size < 4:
            return 0
        length = (data[2] << 8) | data[3]
        position = 4
        if strict and length < LENGTH_16:
            raise ProtocolViolation(shared.NOT_MINIMAL)
    elif length == LENGTH_64:
        if size > 2 and data[2] & 0x80:
            raise ProtocolViolation(shared.NEGATIVE_LENGTH)
        if size < 10:
            return 0
        length = 0
        for number in range(2, 10):
            length = (length << 8) | data[number]
        position = 10
        if strict and length < 0x10000:
            raise ProtocolViolation(shared.NOT_MINIMAL)
    if head & CONTROL and limit == NO_LIMIT:
        limit = LONG_CONTROL
    if length > limit:
        raise FrameTooBig(length, limit)
    header.key = -1
    if is_masked:
        if size < position + 4:
            return 0
        set_key(header, data + position)
        position += 4
    header.head = head
    header.length = length
    return position


cdef int _check_head(int head, int message) except -1:
    cdef int opcode = head & OPCODE
    if opcode & CONTROL:
        if opcode > 0xA:
            raise ProtocolViolation(f"{shared.UNSUPPORTED_OPCODE}{opcode}")
        if not head & FIN:
            raise ProtocolViolation(shared.FRAGMENTED_CONTROL)
    elif opcode > 0x2:
        raise ProtocolViolation(f"{shared.UNSUPPORTED_OPCODE}{opcode}")
    elif opcode == CONTINUATION:
        if message == CONTINUATION:
            raise ProtocolViolation(shared.NOTHING_TO_CONTINUE)
    elif message != CONTINUATION:
        raise ProtocolViolation(shared.MESSAGE_NOT_FINISHED)
    return 0
