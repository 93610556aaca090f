# The types that make managed.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.session cimport managed_sending
from aiohttp_rawws.session.awaitables cimport sending
from aiohttp_rawws.session.raw cimport WebSocketSession as WebSocketSessionC


cdef class DefaultWebSocketSession(managed_sending.ManagedSending):
    pass


@cython.locals(managed=DefaultWebSocketSession, raw_session=WebSocketSessionC, count=Py_ssize_t)
cpdef Py_ssize_t send_to_all(sessions, prepared, list others) except -1
