# The types that make surface.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.session cimport endpoint
from aiohttp_rawws.session.awaitables cimport receiving
from aiohttp_rawws.session.connection cimport ConnectionCore as ConnectionCoreC

cdef long long YIELD_EVERY_BYTES


cpdef object as_frame(item)


cdef class Surface(endpoint.Endpoint):
    cdef ConnectionCoreC _connection
    cdef object _options
    cdef long long _sent_since_yield

    cdef bint _should_yield(self, Py_ssize_t size) except -1


cdef class Listening:
    cdef object _until_heard


cdef class Cork:
    cdef ConnectionCoreC _connection
