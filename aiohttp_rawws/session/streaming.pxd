# The types that make streaming.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.session.ending cimport EndingHalf
from aiohttp_rawws.session.life cimport wake_all
from aiohttp_rawws.session.send_queue cimport SendQueue
from aiohttp_rawws.wire.encoder cimport FrameEncoder as FrameEncoderC

cdef Py_ssize_t JOINED


cdef class StreamingHalf(EndingHalf):
    cdef list _part_waiters

    cdef void finish_turn(self, turn) except *
    cdef void _check_open(self) except *
    cpdef object part_room(self)
    cdef void _wake_parts(self) except *
    @cython.locals(encoder=FrameEncoderC)
    cdef void _write_piece(self, bytes header, bytes data) except *
    @cython.locals(encoder=FrameEncoderC, wire=bytes)
    cdef void send_relayed(self, bytes data, long long missing) except *
    cpdef object give_up_relayed(self)
