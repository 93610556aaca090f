# The types that make connection.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.session.awaitables cimport step
from aiohttp_rawws.session.incoming cimport IncomingHalf
from aiohttp_rawws.session.life cimport wake_all

cdef int DISCONNECTING
cdef int SEND_CLOSING


cdef class ConnectionCore(IncomingHalf):
    cdef bytearray _buffer
    cdef object _view
    cdef object _target
    cdef readonly long long bytes_received
    cdef object _previous_protocol
    cdef object _on_lost
    cdef public object limit
    cdef public object limit_text
    cdef object _write_timeout
    cdef object _guard
    cdef object _delivery_timer
    cdef object _half_open_handle
    cdef bint _is_client
    cdef object _moved_before

    cpdef object get_buffer(self, sizehint)
    cpdef object buffer_updated(self, Py_ssize_t nbytes)
    cpdef object disconnect(self, bint keep_received=*)
    cdef void finish_turn(self, turn) except *
    cdef void _continue_disconnecting(self) except *
    cpdef object end_at_limit(self, option, text)
    cdef void _stop_timers(self) except *
