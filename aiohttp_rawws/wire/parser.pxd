# What other compiled modules call as C. The methods and their meaning are those of parser.py.
cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t

from aiohttp_rawws.wire.frames cimport Frame


@cython.final
cdef class FrameParser:
    cdef readonly object error
    cdef readonly bint closed
    cdef readonly bint mid_frame
    cdef readonly Py_ssize_t pending
    cdef public bint strict
    cdef int _masked  # -1: either way
    cdef long long _limit
    cdef long long _chunk_above
    cdef int _message

    # The last header read, and the frame it opened if that is not complete.
    cdef int _head
    cdef int _kind
    cdef long long _key
    cdef long long _length
    cdef uint32_t _mask  # the key as it lies in memory
    cdef bint _is_open
    cdef object _announced
    cdef PyObject* _payload  # a bytes object of ``_room`` bytes, of which ``_received`` are there
    cdef Py_ssize_t _room
    cdef long long _received
    cdef Py_ssize_t _produced  # bytes of payload in this feed

    cdef unsigned char* _leftover  # ``pending`` bytes from ``_parsed`` on
    cdef Py_ssize_t _parsed
    cdef Py_ssize_t _leftover_room

    cpdef list feed(self, data, Py_ssize_t length=*, Py_ssize_t max_frames=*, Py_ssize_t max_bytes=*)
    cpdef object target(self)
    cpdef list advance(self, Py_ssize_t count)

    cdef list _feed(self, const unsigned char* data, Py_ssize_t size, Py_ssize_t max_frames, Py_ssize_t max_bytes)
    cdef int _feed_after_leftover(
        self, const unsigned char* data, Py_ssize_t size, list items, Py_ssize_t max_frames, Py_ssize_t max_bytes
    ) except -1
    cdef Py_ssize_t _parse(
        self, const unsigned char* data, Py_ssize_t size, list items, Py_ssize_t max_frames, Py_ssize_t max_bytes
    ) except -1
    cdef Py_ssize_t _take_whole(self, const unsigned char* data, Py_ssize_t size, list items) except -1
    cdef Py_ssize_t _read_header(self, const unsigned char* data, Py_ssize_t size) except -1
    cdef int _check_head(self, int head) except -1
    cdef Py_ssize_t _receive(self, const unsigned char* data, Py_ssize_t size, list items) except -1
    cdef Py_ssize_t _continue(self, const unsigned char* data, Py_ssize_t size, list items) except -1
    cdef bytes _unmasked(self, const unsigned char* data, Py_ssize_t size)
    cdef int _deliver(self, Frame frame, list items) except -1
    cdef int _deliver_open(self, list items) except -1
    cdef int _make_room(self, Py_ssize_t least) except -1
    cdef int _keep(self, const unsigned char* data, Py_ssize_t size) except -1
    cdef void _drop(self, Py_ssize_t size) noexcept
    cdef void _close_frame(self) noexcept
    cdef void _end(self) noexcept
