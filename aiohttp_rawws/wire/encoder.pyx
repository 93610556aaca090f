"""The compiled encoder: ``encoder.py`` with pointers. It has no behaviour of its own."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from aiohttp_rawws.wire.frames cimport Frame, PreparedFrame
from aiohttp_rawws.wire.masking cimport rawws_mask_copy
from aiohttp_rawws.wire.masking_keys cimport checked_key, new_masking_key as make_masking_key

from . import _shared as rules
from . import header_bits as bits
from .codes import OPCODES
from .masking_keys import new_masking_key

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

cdef enum:
    KEPT_ROOM = 64 * 1024

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
    """Turns the frames of one direction of a connection into bytes, one by one or in batches. One caller at a time.

    masking: mask what is sent, as a client must (section 5.3); settable at any time. Payloads are copied, not changed.
    strict: refuse frames that do not continue the message which was begun; otherwise send opcodes as they stand.
    new_masking_key: where the keys come from, 4 bytes each.

    A message is continued with opcode 0 whether the frame says so or repeats the message's kind (section 5.4).
    mid_message: the last data frame sent was not the last of its message. size: bytes in the batch.
    """

    def __init__(self, *, masking=False, strict=True, new_masking_key=new_masking_key):
        self.masking = masking
        self.strict = strict
        self._new_masking_key = None if new_masking_key is DEFAULT_KEYS else new_masking_key

    def __dealloc__(self):
        Py_XDECREF(self._batch)

    cpdef bytes encode(self, frame):
        """The bytes of ``frame``, which go out before those of the next one.

        Raises RuntimeError, and forgets the frame, if it does not fit into the message that was begun.
        """
        cdef int head = self._begin(frame)
        cdef bytes payload, wire, key = None
        cdef Py_ssize_t size
        if isinstance(frame, PreparedFrame):
            if not self.masking:
                return (<PreparedFrame>frame)._wire
            frame = (<PreparedFrame>frame)._frame
        payload = (<Frame>frame)._payload
        size = PyBytes_GET_SIZE(payload)
        if self.masking:
            key = self._next_key()
        wire = <bytes>PyBytes_FromStringAndSize(NULL, _wire_size(size, key))
        _write(<unsigned char*>PyBytes_AS_STRING(wire), head, payload, size, key)
        return wire

    cpdef Py_ssize_t append(self, frame) except -1:
        """Put ``frame`` at the end of the batch, as ``encode`` would give it; returns its size in bytes."""
        cdef int head = 0
        cdef bytes payload, key = None
        cdef Py_ssize_t size, count
        if type(frame) is Frame:
            head = (<Frame>frame)._head
        if self._message != CONTINUATION or (head != (FIN | TEXT) and head != (FIN | BINARY)):
            head = self._begin(frame)  # else it is a whole message between others
        if isinstance(frame, PreparedFrame):
            if not self.masking:
                return self.append_bytes((<PreparedFrame>frame)._wire)
            frame = (<PreparedFrame>frame)._frame
        payload = (<Frame>frame)._payload
        size = PyBytes_GET_SIZE(payload)
        if self.masking:
            key = self._next_key()
        count = _wire_size(size, key)
        _write(self._reserve(count), head, payload, size, key)
        self.size += count
        return count

    cpdef Py_ssize_t append_bytes(self, data) except -1:
        """Put bytes of the caller's own making at the end of the batch; returns how many."""
        cdef Py_buffer view
        cdef Py_ssize_t count
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
        """Put the header alone at the end of the batch, for a payload that follows unjoined; returns its size.

        Raises RuntimeError while masking, when the payload has to be changed on its way.
        """
        cdef int head
        cdef Py_ssize_t size, count
        if self.masking:
            raise RuntimeError(rules.HEADER_WHILE_MASKING)
        if not isinstance(frame, Frame):
            raise TypeError(f"{rules.NOT_A_FRAME}{type(frame).__name__}")
        head = self._begin(frame)
        size = PyBytes_GET_SIZE((<Frame>frame)._payload)
        count = _wire_size(size, None) - size
        _write_header(self._reserve(count), head, size, None)
        self.size += count
        return count

    cpdef bytes take(self):
        """The batch, which is empty then."""
        cdef bytes batch
        if self._batch == NULL:
            return b""
        if self.size != self._room:
            _PyBytes_Resize(&self._batch, self.size)
        batch = <bytes>self._batch
        Py_XDECREF(self._batch)
        self._batch = NULL
        self._usual = self.size if self.size <= KEPT_ROOM else 0
        self.size = 0
        return batch

    cdef int _begin(self, frame) except -1:
        """The first byte to send for ``frame``; keeps track of the message."""
        cdef int head, opcode, kind
        if not isinstance(frame, Frame):
            if not isinstance(frame, PreparedFrame):
                raise TypeError(f"{rules.NOT_A_FRAME}{type(frame).__name__}")
            return self._begin_whole((<PreparedFrame>frame)._frame._head)
        head = (<Frame>frame)._head
        kind = (<Frame>frame)._kind
        opcode = head & OPCODE
        if opcode & CONTROL:
            return head
        if opcode == CONTINUATION and kind == CONTINUATION:
            kind = self._message
        if self.strict:
            if opcode == CONTINUATION and self._message == CONTINUATION:
                raise RuntimeError(rules.BEGIN_FIRST)
            if self._message != CONTINUATION and self._message != kind:
                raise RuntimeError(rules.FINISH_FIRST.format(OPCODES[kind].name, OPCODES[self._message].name))
        if kind == self._message:
            head &= ~OPCODE
        self._message = CONTINUATION if head & FIN else kind
        self.mid_message = self._message != CONTINUATION
        return head

    cdef int _begin_whole(self, int head) except -1:
        """A prepared frame goes out as it is, so it cannot become a part of another message."""
        if not head & CONTROL:
            if self.strict and self._message != CONTINUATION:
                raise RuntimeError(rules.WHOLE_INSIDE.format(OPCODES[self._message].name))
            self._message = CONTINUATION
            self.mid_message = False
        return head

    cdef bytes _next_key(self):
        if self._new_masking_key is None:
            return make_masking_key()
        return checked_key(self._new_masking_key())

    cdef unsigned char* _reserve(self, Py_ssize_t count) except NULL:
        """Where the next ``count`` bytes of the batch go."""
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


cdef inline unsigned char* _write_header(unsigned char* to, int head, Py_ssize_t size, bytes key) noexcept:
    """Returns where the payload goes."""
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
