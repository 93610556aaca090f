# The methods that the compiled parser calls as C. They are those of open_frame.py.
cimport cython
from cpython.object cimport PyObject

from aiohttp_rawws.wire.frames cimport Frame
from aiohttp_rawws.wire.header_reader cimport Header


@cython.final
cdef class OpenFrame:
    cdef Header _header
    cdef int _kind
    cdef readonly object announced
    cdef readonly long long received
    cdef PyObject* _payload  # a bytes object, of which ``received`` are there
    cdef Py_ssize_t _room  # bytes of it that may be written to
    cdef Py_ssize_t _allocated  # bytes of it
    cdef bint _is_to_be_kept  # in the pool, when it is complete: it did not come from there

    cdef object chunk(self, const unsigned char* data, Py_ssize_t size)
    cdef object split(self)
    cdef int write(self, const unsigned char* data, Py_ssize_t size) except -1
    cdef object target(self)
    cdef int advance(self, Py_ssize_t count) except -1
    cdef Frame frame(self)
    cdef long long missing(self) noexcept
    cdef bint is_control(self) noexcept
    cdef bytes wire(self)

    cdef Py_ssize_t _fitting(self, Py_ssize_t room) noexcept
    cdef int _grow(self, Py_ssize_t least) except -1
    cdef int _allocate(self) except -1
    cdef int _reallocate(self, Py_ssize_t size) except -1


cdef OpenFrame open_frame(Header* header, int kind, Py_ssize_t size, bint in_chunks)
