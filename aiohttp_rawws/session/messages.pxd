# The types that make messages.py a compiled module; its behaviour is all in the .py.
from aiohttp_rawws.wire.frames cimport is_text, is_whole_message, payload_size

cdef Py_ssize_t SMALL_PART
cdef Py_ssize_t JOINED_PARTS


cdef class MessageAssembler:
    cdef Py_ssize_t _limit
    cdef object _max_fragments
    cdef Py_ssize_t _fragments
    cdef bint _mid_frame
    cdef object _pipeline
    cdef bint _is_plain
    cdef object _kind
    cdef list _parts
    cdef Py_ssize_t _small
    cdef Py_ssize_t _size
    cdef object _decoder

    cpdef object add(self, item)
    cdef void _count_fragment(self, item) except *
    cdef object _join(self, item)
    cdef list _kept(self, bytes payload)
    cdef void _join_small(self, list parts) except *
    cdef void _check_size(self, Py_ssize_t size) except *


cpdef object check_whole(message, Py_ssize_t limit)
cdef void check_utf8(bytes payload) except *
