"""The compiled ``open_frame.py``. It has no behaviour of its own."""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromObject
from cpython.object cimport PyObject
from cpython.ref cimport Py_CLEAR, Py_INCREF, Py_XDECREF
from libc.string cimport memcpy

from aiohttp_rawws.wire.frames cimport Frame, header_of, make_frame
from aiohttp_rawws.wire.header_reader cimport Header
from aiohttp_rawws.wire.masking cimport masked_copy, rawws_mask, rawws_mask_copy, rawws_turned
from aiohttp_rawws.wire.payload_pool cimport keep_payload, kept_payload, new_payload

from . import _shared as shared
from . import header_bits as bits
from .chunks import FrameChunk
from .headers import header_bytes

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject** data, Py_ssize_t size) except -1
    Py_ssize_t Py_REFCNT(PyObject* data)

cdef int CONTROL = bits.CONTROL
cdef Py_ssize_t LARGE = shared.LARGE
cdef Py_ssize_t FIRST_ROOM = shared.FIRST_ROOM
# So much is allocated at once, whatever the room that is in use: memory that no byte has arrived for is not touched.
cdef Py_ssize_t TRUSTED_LENGTH = 1024 * 1024
cdef long long LONGEST = 2**62  # payloads beyond that are never complete


cdef class _Window:
    """The exporter behind ``target()``. It owns the bytes that it shows: a view that is still held when the payload is
    moved or delivered is out of date, but its memory is not freed."""

    cdef object _owner
    cdef unsigned char* _start
    cdef Py_ssize_t _size

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self._start, self._size, 0, flags)


cdef OpenFrame open_frame(Header* header, int kind, Py_ssize_t size, bint in_chunks):
    """Open the frame with this header. ``size``: bytes of payload that have come with it."""
    cdef OpenFrame frame = OpenFrame.__new__(OpenFrame)
    frame._header = header[0]
    frame._kind = kind
    if in_chunks:
        frame.announced = header_of(header.head, kind, header.length, header.key)
    else:
        frame._room = frame._fitting(max(4 * size, FIRST_ROOM))
        frame._allocate()
    return frame


@cython.final
cdef class OpenFrame:
    """A frame whose header is complete and whose payload is not; see ``open_frame.py``."""

    def __dealloc__(self):
        Py_XDECREF(self._payload)

    cdef long long missing(self) noexcept:
        return self._header.length - self.received

    cdef object chunk(self, const unsigned char* data, Py_ssize_t size):
        cdef long long offset = self.received
        cdef bytes payload = <bytes>new_payload(size)
        cdef unsigned char* to = <unsigned char*>PyBytes_AS_STRING(payload)
        self.received += size
        if self._header.key < 0:
            memcpy(to, data, size)
        else:
            rawws_mask_copy(to, data, size, rawws_turned(self._header.mask, offset & 3))
        return FrameChunk(self.announced, payload, offset, self.received == self._header.length)

    cdef object split(self):
        cdef bytes payload = PyBytes_FromStringAndSize(
            PyBytes_AS_STRING(<object>self._payload), <Py_ssize_t>self.received
        )
        self.announced = header_of(self._header.head, self._kind, self._header.length, self._header.key)
        Py_CLEAR(self._payload)
        self._room = self._allocated = 0
        return FrameChunk(self.announced, payload, 0, False)

    cdef int write(self, const unsigned char* data, Py_ssize_t size) except -1:
        cdef unsigned char* to
        if self.received + size > self._room:
            self._grow(<Py_ssize_t>self.received + size)
        to = <unsigned char*>PyBytes_AS_STRING(<object>self._payload) + self.received
        if self._header.key >= 0:
            rawws_mask_copy(to, data, size, rawws_turned(self._header.mask, self.received & 3))
        else:
            memcpy(to, data, size)
        self.received += size
        return 0

    cdef object target(self):
        cdef _Window window
        if self.announced is not None or self._header.length - self.received <= LARGE:
            return None
        if self._room - self.received < LARGE:
            self._grow(<Py_ssize_t>self.received + LARGE)
        window = _Window.__new__(_Window)
        window._owner = <object>self._payload
        window._start = <unsigned char*>PyBytes_AS_STRING(<object>self._payload) + self.received
        window._size = self._room - <Py_ssize_t>self.received
        return PyMemoryView_FromObject(window)

    cdef int advance(self, Py_ssize_t count) except -1:
        cdef unsigned char* start = <unsigned char*>PyBytes_AS_STRING(<object>self._payload) + self.received
        if count < 0 or count > self._room - self.received:
            shared.checked_advance(count, self._room - self.received)
        if self._header.key >= 0:
            rawws_mask(start, count, rawws_turned(self._header.mask, self.received & 3))
        self.received += count
        return 0

    cdef Frame frame(self):
        if self._is_to_be_kept:
            keep_payload(<object>self._payload)
        return make_frame(self._header.head, self._kind, <bytes>self._payload, self._header.key)

    cdef bint is_control(self) noexcept:
        return (self._header.head & CONTROL) != 0

    cdef bytes wire(self):
        cdef bytes header, payload
        if self.announced is not None:
            return b""
        payload = PyBytes_FromStringAndSize(PyBytes_AS_STRING(<object>self._payload), <Py_ssize_t>self.received)
        if self._header.key < 0:
            return header_bytes(self._header.head, self._header.length, None) + payload
        key = (<object>self._header.key).to_bytes(4, "big")
        header = header_bytes(self._header.head, self._header.length, key)
        return header + <bytes>masked_copy(
            <const unsigned char*>PyBytes_AS_STRING(payload), len(payload), self._header.mask
        )

    cdef Py_ssize_t _fitting(self, Py_ssize_t room) noexcept:
        """Return ``room``, or all that the payload needs if that is little more."""
        return <Py_ssize_t>self._header.length if self._header.length - room <= LARGE else room

    cdef int _grow(self, Py_ssize_t least) except -1:
        cdef Py_ssize_t room = self._fitting(max(least, 2 * self._room))
        if room > self._allocated:
            self._reallocate(room)
        self._room = room
        return 0

    cdef int _allocate(self) except -1:
        """Have memory for the first time: for all of the payload, if that is kept for payloads anyway."""
        cdef object payload = kept_payload(<Py_ssize_t>self._header.length) if self._header.length <= LONGEST else None
        if payload is None:
            return self._reallocate(self._room)
        Py_INCREF(payload)
        self._payload = <PyObject*>payload
        self._allocated = <Py_ssize_t>self._header.length
        return 0

    cdef int _reallocate(self, Py_ssize_t size) except -1:
        """Have ``size`` bytes or more, but not more than the payload needs."""
        cdef object moved
        size = <Py_ssize_t>min(self._header.length, <long long>max(size, TRUSTED_LENGTH))
        if self._payload != NULL and Py_REFCNT(self._payload) == 1:
            _PyBytes_Resize(&self._payload, size)
            self._is_to_be_kept = True
        else:  # there is none, or a view of it is still held
            self._is_to_be_kept = size < self._header.length
            moved = PyBytes_FromStringAndSize(NULL, size) if self._is_to_be_kept else new_payload(size)
            if self._payload != NULL:
                memcpy(PyBytes_AS_STRING(moved), PyBytes_AS_STRING(<object>self._payload), self.received)
                Py_XDECREF(self._payload)
            Py_INCREF(moved)
            self._payload = <PyObject*>moved
        self._allocated = size
        return 0
