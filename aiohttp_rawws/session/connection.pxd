# The types that make connection.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.session.awaitables cimport step
from aiohttp_rawws.session.life cimport wake_all
from aiohttp_rawws.session.streaming cimport StreamingHalf

cdef int SEND_DONE


cdef class ConnectionCore(StreamingHalf):
    cdef bytearray _buffer
    cdef object _view
    cdef object _target
    cdef readonly long long bytes_received
    cdef object _previous_protocol
    cdef object _on_lost
    cdef object _write_timeout
    cdef object _guard

    cpdef object get_buffer(self, sizehint)
    cpdef object want_chunks(self)
    cpdef object buffer_updated(self, Py_ssize_t nbytes)
