# The types that make raw.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.session cimport raw_sending
from aiohttp_rawws.session.awaitables cimport receiving

cdef int DONE


cdef class WebSocketSession(raw_sending.RawSending):
    cdef object _transport
    cdef object _tasks
    cdef object _on_closed
    cdef tuple _negotiated

    cdef void _raise_failure(self) except *
