# The methods that other compiled modules call as C. They are those of watcher.py.
cimport cython

from aiohttp_rawws.wire.parser cimport FrameParser


@cython.final
cdef class FrameWatcher:
    cdef FrameParser _parser
    cdef int _message
    cdef unsigned char _header[14]
    cdef Py_ssize_t _held
    cdef bint _closing
    cdef long long _key
    cdef readonly long long missing
    cdef readonly long long frames
    cdef readonly bint closed
    cdef readonly bytes close_payload
    cdef readonly object error

    cpdef bytes pass_on(self, data, Py_ssize_t length=*)
    cpdef bytes rest(self)

    cdef bytes _pass_on(self, const unsigned char* data, Py_ssize_t size)
    cdef Py_ssize_t _watch(self, const unsigned char* data, Py_ssize_t size) except -1
    cdef Py_ssize_t _continue(self, const unsigned char* data, Py_ssize_t size) except -1
    cdef int _end(self) except -1
