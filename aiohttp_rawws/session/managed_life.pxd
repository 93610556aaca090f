# The types that make managed_life.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.session cimport part_surface
from aiohttp_rawws.session.awaitables cimport wake
from aiohttp_rawws.session.messages cimport MessageAssembler as MessageAssemblerC
from aiohttp_rawws.session.raw cimport WebSocketSession as WebSocketSessionC


cdef class ManagedLife(part_surface.PartSurface):
    cdef readonly WebSocketSessionC _raw
    cdef tuple _extensions
    cdef bint _started
    cdef object _pipeline
    cdef object _arriving
    cdef bint _keeps_pieces
    cdef bint _defers
    cdef MessageAssemblerC _assembler
    cdef Py_ssize_t _limit_of_message
    cdef bint _overflow_closes
    cdef bint _messages_ended
    cdef object _failure
    cdef bint _failure_raised
    cdef public bint has_runner
    cdef object _listener
    cdef object _backlog
    cdef public object on_ping
    cdef public object on_pong
    cdef public object on_close
    cdef public object auto_pong
    cdef public object auto_close
    cdef object _max_control_rate
    cdef Py_ssize_t _controls
    cdef double _controls_since
    cdef object _closing
    cdef public object limit
    cdef object _ping_interval
    cdef object _timeout
    cdef object _latency
    cdef object _pinger

    cdef void _call(self, callback, argument) except *
    cdef void _input_ended(self) except *
    cdef void _end_messages(self) except *
    cdef void _restart_pinger(self) except *
    cdef void _stop_pinger(self) except *
    cdef void _fail_pings(self) except *
    cdef object _closing_handshake(self)
