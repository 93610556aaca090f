# The types that make raw.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.session.awaitables cimport done, receiving
from aiohttp_rawws.session.connection cimport ConnectionCore as ConnectionCoreC
from aiohttp_rawws.session cimport queues
from aiohttp_rawws.wire.frames cimport is_prepared

cdef long long BREATH


cdef class WebSocketSession(queues.Receiver):
    cdef object _transport
    cdef object _options
    cdef ConnectionCoreC _connection
    cdef object _turn
    cdef set _tasks
    cdef object _closed
    cdef tuple _negotiated
    cdef long long _breathed
    cdef object __weakref__

    cdef object _sent(self, item)
    cdef void _sent_now(self, item) except *
    cdef void _put(self, item) except *
    cdef void _raise_failure(self) except *
    cdef void _write_batch(self) except *


cdef class Listening:
    cdef object _session


cdef class Cork:
    cdef WebSocketSession _session
