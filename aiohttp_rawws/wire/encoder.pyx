"""The compiled encoder: ``encoder.py`` with pointers. It has no behaviour of its own."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from aiohttp_rawws.wire.frames cimport Frame, PreparedFrame
from aiohttp_rawws.wire.masking cimport masked_copy, rawws_mask_copy, rawws_turned
from aiohttp_rawws.wire.masking_keys cimport checked_key, new_masking_key as make_masking_key
from aiohttp_rawws.wire.payload_pool cimport new_payload

from . import _shared as shared
from . import header_bits as bits
from .codes import OPCODES
from .masking_keys import new_masking_key
from .strictness import VALUES, checked_strictness
from . import strictness

__all__ = ["FrameEncoder"]

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject** data, Py_ssize_t size) except -1

cdef int CONTINUATION = bits.CONTINUATION
cdef int TEXT = bits.TEXT
cdef int BINARY = bits.BINARY
cdef int CONTROL = bits.CONTROL
cdef int OPCODE = bits.OPCODE
cdef int FIN = bits.FIN
cdef int MASKED = bits.MASKED
cdef int LENGTH_16 = bits.LENGTH_16
cdef int LENGTH_64 = bits.LENGTH_64
cdef int HOP = strictness.HOP
cdef int STRICT = strictness.STRICT

cdef enum:
    NOT_MADE = -1  # instead of a kind of message
    KEPT_ROOM = 64 * 1024
    LONGEST_HEADER = 14

cdef object DEFAULT_KEYS = new_masking_key


cdef inline unsigned char* _start_of(PyObject* data) noexcept:
    return <unsigned char*>PyBytes_AS_STRING(<object>data)


cdef inline PyObject* _new_bytes(Py_ssize_t size) except NULL:
    """A new reference to ``size`` bytes that nobody has written."""
    cdef object data = PyBytes_FromStringAndSize(NULL, size)
    Py_INCREF(data)
    return <PyObject*>data


@cython.final
cdef class FrameEncoder:
    """Turns the frames of one direction of a connection into bytes, one by one or in batches.

    A fragment continues the message that is open with opcode 0, whether it says so itself or repeats the kind of the
    message (section 5.4). An encoder that raises has not changed: neither the batch nor the message that is open.

    One caller at a time.

    Attributes:
        masking: The option. It can be set at any time.
        strict: The option. It can be set at any time.
        mid_message: A message is open: the last data frame was not the last of its message.
        size: Bytes in the batch.
        missing: Bytes of payload that the frame of ``begin()`` still takes, 0 if there is none.
    """

    def __cinit__(self):
        self._message = self._message_after = NOT_MADE  # until __init__ has run

    def __init__(self, *, masking=False, strict=True, new_masking_key=new_masking_key):
        """
        Args:
            masking: Mask what is sent, as a client must (section 5.3). Payloads are not changed. Default: False.
            strict: Refuse a frame that does not continue the message that is open. If False, send it as it stands; a
                prepared message then takes the place of the one that was open. "hop": the same, and a frame that
                repeats the kind of the message keeps its opcode, too. Default: True.
            new_masking_key: Makes the masking keys, 4 bytes each. Default: from the system's source of randomness.
        """
        self.masking = masking
        self.strict = strict
        self._new_masking_key = None if new_masking_key is DEFAULT_KEYS else new_masking_key
        self._message = CONTINUATION

    @property
    def strict(self):
        return VALUES[self._strict]

    @strict.setter
    def strict(self, value):
        self._strict = checked_strictness(value)

    def __dealloc__(self):
        Py_XDECREF(self._batch)

    cpdef void refuse_whole_message(self) except *:
        """Check that a whole message can begin here.

        For callers that send whole messages only: a text that is sent inside a fragmented text would become a part of
        it.

        Raises:
            RuntimeError: A message is open. Only with ``strict=True``.
        """
        if self._message == NOT_MADE:
            raise shared.not_made(self)
        if self._strict == STRICT and self._message != CONTINUATION:
            raise RuntimeError(shared.WHOLE_INSIDE.format(OPCODES[self._message].name))

    cpdef bytes encode(self, frame):
        """Encode one frame, which is sent before those that are encoded after it.

        Args:
            frame: Any frame. A PreparedFrame is used as it is unless ``masking`` is set.

        Returns:
            The bytes to send.

        Raises:
            RuntimeError: The frame does not continue the message that is open, or continues none.
            TypeError: It is not a frame.
        """
        cdef int head = self._check(frame)
        cdef bytes payload, wire, key = None
        cdef Py_ssize_t size
        if isinstance(frame, PreparedFrame):
            if not self.masking:
                self._commit()
                return (<PreparedFrame>frame)._wire
            frame = (<PreparedFrame>frame)._frame
        payload = (<Frame>frame)._payload
        size = PyBytes_GET_SIZE(payload)
        if self.masking:
            key = self._next_key()
        wire = <bytes>new_payload(_wire_size(size, key))
        _write(<unsigned char*>PyBytes_AS_STRING(wire), head, payload, size, key)
        self._commit()
        return wire

    cpdef Py_ssize_t append(self, frame) except -1:
        """Put a frame at the end of the batch.

        Args:
            frame: As for ``encode()``.

        Returns:
            Its size in bytes, with the header.

        Raises:
            RuntimeError: As for ``encode()``.
            TypeError: As for ``encode()``.
        """
        cdef int head = 0
        cdef bytes payload = None, key = None
        cdef Py_ssize_t size, count
        if type(frame) is Frame:
            head = (<Frame>frame)._head
            payload = (<Frame>frame)._payload
        if self._message != CONTINUATION or payload is None or (head != (FIN | TEXT) and head != (FIN | BINARY)):
            head = self._check(frame)
            if isinstance(frame, PreparedFrame):
                if not self.masking:
                    count = self.append_bytes((<PreparedFrame>frame)._wire)
                    self._commit()
                    return count
                frame = (<PreparedFrame>frame)._frame
            payload = (<Frame>frame)._payload
        else:  # a whole message while none is open
            self._message_after = CONTINUATION
        size = PyBytes_GET_SIZE(payload)
        if self.masking:
            key = self._next_key()
        count = _wire_size(size, key)
        _write(self._reserve(count), head, payload, size, key)
        self.size += count
        self._commit()
        return count

    cpdef Py_ssize_t append_bytes(self, data) except -1:
        """Put bytes of the caller's own making at the end of the batch.

        Args:
            data: Any contiguous buffer. It is copied unless it is bytes.

        Returns:
            How many bytes these are.
        """
        cdef Py_buffer view
        cdef Py_ssize_t count
        if self._message == NOT_MADE:
            raise shared.not_made(self)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            count = view.len
            if count:
                memcpy(self._reserve(count), view.buf, count)
                self.size += count
            return count
        finally:
            PyBuffer_Release(&view)

    cpdef Py_ssize_t append_header(self, frame) except -1:
        """Put the header of a frame at the end of the batch, for a payload that is sent behind it without a copy.

        Args:
            frame: Any frame but a PreparedFrame.

        Returns:
            The size of the header in bytes.

        Raises:
            RuntimeError: As for ``encode()``, or ``masking`` is set: the payload has to be changed on its way.
            TypeError: It is not a frame.
        """
        cdef int head
        cdef Py_ssize_t size, count
        if self.masking:
            raise RuntimeError(shared.HEADER_WHILE_MASKING)
        if not isinstance(frame, Frame):
            raise TypeError(f"{shared.NOT_A_FRAME}{type(frame).__name__}")
        head = self._check(frame)
        size = PyBytes_GET_SIZE((<Frame>frame)._payload)
        count = _wire_size(size, None) - size
        _write_header(self._reserve(count), head, size, None)
        self.size += count
        self._commit()
        return count

    cpdef bytes begin(self, frame, length):
        """Begin a data frame whose payload comes in pieces.

        Frames that are encoded before its last piece have to be sent behind that.

        Args:
            frame: The frame, with an empty payload.
            length: Bytes of the payload that will follow by ``piece()``.

        Returns:
            The header.

        Raises:
            RuntimeError: As for ``encode()``, or the frame before it is not complete.
            TypeError: It is not a Frame, or ``length`` is no int.
            ValueError: It is a control frame, has a payload, or no frame can be so long.
        """
        cdef int head
        cdef long long size
        cdef bytes key = None
        cdef bytes header
        cdef unsigned char space[LONGEST_HEADER]
        cdef unsigned char* end
        if self._message == NOT_MADE:
            raise shared.not_made(self)
        if self.missing:
            raise RuntimeError(shared.FRAME_IS_OPEN.format(self.missing))
        if not isinstance(frame, Frame):
            raise TypeError(f"{shared.NOT_A_FRAME}{type(frame).__name__}")
        size = shared.checked_frame_length(length)
        head = self._check(frame)
        if head & CONTROL:
            raise ValueError(shared.CONTROL_IN_PIECES.format(OPCODES[head & OPCODE].name))
        if PyBytes_GET_SIZE((<Frame>frame)._payload):
            raise ValueError(shared.HAS_PAYLOAD)
        if self.masking:
            key = self._next_key()
        end = _write_header(space, head, size, key)
        header = <bytes>PyBytes_FromStringAndSize(<const char*>space, end - space)
        self._commit()
        self.missing = size
        self._key = key
        self._offset = 0
        return header

    cpdef bytes piece(self, data):
        """Encode the next bytes of the payload of the frame that was begun.

        Args:
            data: Any contiguous buffer. It is copied unless it is bytes, and not masked.

        Returns:
            The bytes to send.

        Raises:
            ValueError: These are more bytes than are missing. Nothing has changed.
        """
        cdef bytes wire = data if type(data) is bytes else b"" + memoryview(data)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(wire)
        cdef uint32_t mask
        if self._message == NOT_MADE:
            raise shared.not_made(self)
        if size > self.missing:
            raise ValueError(shared.TOO_LONG.format(size, self.missing))
        if self._key is not None:
            memcpy(&mask, PyBytes_AS_STRING(self._key), 4)
            mask = rawws_turned(mask, self._offset & 3)
            wire = masked_copy(<const unsigned char*>PyBytes_AS_STRING(wire), size, mask)
        self._offset += size
        self.missing -= size
        return wire

    cpdef void give_up(self) noexcept:
        """Forget the frame that was begun, because the rest of it will not be sent."""
        self.missing = 0

    cpdef bytes take(self):
        """Return the batch, and begin a new one."""
        cdef bytes batch
        if self._batch == NULL:
            if self._message == NOT_MADE:
                raise shared.not_made(self)
            return b""
        if self.size != self._room:
            _PyBytes_Resize(&self._batch, self.size)
        batch = <bytes>self._batch
        Py_XDECREF(self._batch)
        self._batch = NULL
        self._usual = self.size if self.size <= KEPT_ROOM else 0
        self.size = 0
        return batch

    cdef int _check(self, frame) except -1:
        """Return the first byte to send for ``frame``, which has its content. Sets ``_message_after``."""
        cdef int head, opcode, kind
        cdef int message = self._message
        self._message_after = message
        if message == NOT_MADE:
            raise shared.not_made(self)
        if not isinstance(frame, Frame):
            if not isinstance(frame, PreparedFrame):
                raise TypeError(f"{shared.NOT_A_FRAME}{type(frame).__name__}")
            return self._check_whole(<PreparedFrame>frame)
        if (<Frame>frame)._payload is None:
            raise shared.not_made(frame)
        head = (<Frame>frame)._head
        kind = (<Frame>frame)._kind
        opcode = head & OPCODE
        if opcode & CONTROL:
            return head
        if opcode == CONTINUATION and kind == CONTINUATION:
            kind = message
        if self._strict == STRICT:
            if opcode == CONTINUATION and message == CONTINUATION:
                raise RuntimeError(shared.BEGIN_FIRST)
            if message != CONTINUATION and message != kind:
                raise RuntimeError(shared.FINISH_FIRST.format(OPCODES[kind].name, OPCODES[message].name))
        if kind == message and self._strict != HOP:
            head &= ~OPCODE
        self._message_after = CONTINUATION if head & FIN else kind
        return head

    cdef int _check_whole(self, PreparedFrame prepared) except -1:
        """Check a prepared frame: it goes out as it is, so it cannot become a part of a message."""
        cdef int head
        if prepared._wire is None:
            raise shared.not_made(prepared)
        head = prepared._frame._head
        if not head & CONTROL:
            self.refuse_whole_message()
            self._message_after = CONTINUATION
        return head

    cdef inline void _commit(self) noexcept:
        """The frame is encoded."""
        self._message = self._message_after
        self.mid_message = self._message != CONTINUATION

    cdef bytes _next_key(self):
        if self._new_masking_key is None:
            return make_masking_key()
        return checked_key(self._new_masking_key())

    cdef unsigned char* _reserve(self, Py_ssize_t count) except NULL:
        """Return where the next ``count`` bytes of the batch go."""
        cdef Py_ssize_t needed = self.size + count
        if self._batch == NULL:
            self._room = max(needed, self._usual)
            self._batch = _new_bytes(self._room)
        elif needed > self._room:
            self._room = needed + max(needed, KEPT_ROOM)
            try:
                _PyBytes_Resize(&self._batch, self._room)
            except MemoryError:
                self.size = 0
                raise
        return _start_of(self._batch) + self.size


cdef inline Py_ssize_t _wire_size(Py_ssize_t size, bytes key) noexcept:
    cdef Py_ssize_t header = 2 if size < LENGTH_16 else 4 if size <= 0xFFFF else 10
    return size + header + (0 if key is None else 4)


cdef inline unsigned char* _write_header(unsigned char* to, int head, long long size, bytes key) noexcept:
    """Return where the payload goes."""
    cdef int mask = 0 if key is None else MASKED
    cdef int shift
    to[0] = head
    if size < LENGTH_16:
        to[1] = mask | size
        to += 2
    elif size <= 0xFFFF:
        to[1] = mask | LENGTH_16
        to[2] = size >> 8
        to[3] = size & 0xFF
        to += 4
    else:
        to[1] = mask | LENGTH_64
        for shift in range(8):
            to[2 + shift] = (<uint64_t>size >> (56 - 8 * shift)) & 0xFF
        to += 10
    if key is not None:
        memcpy(to, PyBytes_AS_STRING(key), 4)
        to += 4
    return to


cdef inline void _write(unsigned char* to, int head, bytes payload, Py_ssize_t size, bytes key) noexcept:
    cdef uint32_t mask
    to = _write_header(to, head, size, key)
    if key is None:
        memcpy(to, PyBytes_AS_STRING(payload), size)
    else:
        memcpy(&mask, PyBytes_AS_STRING(key), 4)
        rawws_mask_copy(to, <const unsigned char*>PyBytes_AS_STRING(payload), size, mask)
