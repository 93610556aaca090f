# The types that make raw.py a compiled module; its behaviour is all in the .py.
from aiohttp_rawws.session cimport raw_receiving


cdef class WebSocketSession(raw_receiving.RawReceiving):
    cdef object _transport
    cdef object _tasks
    cdef object _on_closed
    cdef tuple _negotiated
