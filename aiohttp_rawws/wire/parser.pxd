# The methods that other compiled modules call as C. They are those of parser.py.
cimport cython

from aiohttp_rawws.wire.frames cimport Frame
from aiohttp_rawws.wire.header_reader cimport Header
from aiohttp_rawws.wire.open_frame cimport OpenFrame


@cython.final
cdef class FrameParser:
    cdef readonly object error
    cdef readonly bint closed
    cdef readonly bint mid_frame
    cdef bint _is_made  # __init__ has run
    cdef int _strict
    cdef readonly Py_ssize_t pending
    cdef int _masked  # -1: either way
    cdef int _message
    cdef long long _limit
    cdef long long _chunk_above
    cdef OpenFrame _open
    cdef Py_ssize_t _produced  # bytes of payload in this feed

    cdef unsigned char* _leftover  # ``pending`` bytes from ``_parsed`` on
    cdef Py_ssize_t _parsed
    cdef Py_ssize_t _leftover_room

    cpdef list feed(self, data, Py_ssize_t length=*, Py_ssize_t max_frames=*, Py_ssize_t max_bytes=*)
    cpdef object target(self)
    cpdef list advance(self, Py_ssize_t count)
    cpdef tuple detach(self)
    cpdef object split(self)

    cdef list _feed(self, const unsigned char* data, Py_ssize_t size, Py_ssize_t max_frames, Py_ssize_t max_bytes)
    cdef int _feed_after_leftover(
        self, const unsigned char* data, Py_ssize_t size, list items, Py_ssize_t max_frames, Py_ssize_t max_bytes
    ) except -1
    cdef Py_ssize_t _parse(
        self, const unsigned char* data, Py_ssize_t size, list items, Py_ssize_t max_frames, Py_ssize_t max_bytes
    ) except -1
    cdef Py_ssize_t _take_whole(self, const unsigned char* data, Py_ssize_t size, list items) except -1
    cdef Py_ssize_t _begin(self, Header* header, const unsigned char* data, Py_ssize_t size, list items) except -1
    cdef Py_ssize_t _continue(self, const unsigned char* data, Py_ssize_t size, list items) except -1
    cdef int _deliver(self, Frame frame, list items) except -1
    cdef int _keep(self, const unsigned char* data, Py_ssize_t size) except -1
    cdef void _drop(self, Py_ssize_t size) noexcept
    cdef void _end(self) noexcept
