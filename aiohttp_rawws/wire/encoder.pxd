# The methods that other compiled modules call as C. They are those of encoder.py.
cimport cython
from cpython.object cimport PyObject

from aiohttp_rawws.wire.frames cimport PreparedFrame


@cython.final
cdef class FrameEncoder:
    cdef public bint masking
    cdef int _strict
    cdef readonly bint mid_message
    cdef readonly Py_ssize_t size
    cdef readonly long long missing
    cdef bytes _key
    cdef long long _offset
    cdef object _new_masking_key  # None: that of masking_keys, called as C
    cdef int _message
    cdef int _message_after
    cdef PyObject* _batch  # a bytes object of ``_room`` bytes, of which ``size`` are in use
    cdef Py_ssize_t _room
    cdef Py_ssize_t _usual  # size of the last batch: what the next one probably needs

    cpdef void refuse_whole_message(self) except *
    cpdef bytes encode(self, frame)
    cpdef Py_ssize_t append(self, frame) except -1
    cpdef Py_ssize_t append_bytes(self, data) except -1
    cpdef Py_ssize_t append_header(self, frame) except -1
    cpdef bytes begin(self, frame, length)
    cpdef bytes piece(self, data)
    cpdef void give_up(self) noexcept
    cpdef bytes take(self)

    cdef int _check(self, frame) except -1
    cdef int _check_whole(self, PreparedFrame prepared) except -1
    cdef inline void _commit(self) noexcept
    cdef bytes _next_key(self)
    cdef unsigned char* _reserve(self, Py_ssize_t count) except NULL
