# The types that make frame_relay.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.session cimport relay
from aiohttp_rawws.session.connection cimport ConnectionCore
from aiohttp_rawws.wire.encoder cimport FrameEncoder as FrameEncoderC
from aiohttp_rawws.wire.frames cimport Frame as FrameC
from aiohttp_rawws.wire.headers cimport head_byte, header_bytes

cdef Py_ssize_t BATCH
cdef Py_ssize_t UNJOINED
cdef int CLOSE
cdef int CONTROL
cdef int FIN
cdef int OPCODE


cdef class FrameRelayCore(relay.RelayCore):
    cdef readonly object cancelled
    cdef object _session
    cdef object _on_frame
    cdef object _target
    cdef object _held
    cdef list _waiting
    cdef long long _before_hold
    cdef long long _high_water
    cdef bint _ends_later
    cdef bint _is_lost_later
    cdef long long _passed
    cdef bytes _key
    cdef long long _written
    cdef long long _to_come

    @cython.locals(connection=ConnectionCore)
    cdef void _parsed(self, list items) except *
    cdef void _count(self, list items) except *
    cdef void _came(self, list items) except *
    @cython.locals(target=ConnectionCore, count=Py_ssize_t)
    cdef void _pass_items(self, list items) except *
    cdef bint _put_result(self, result) except -1
    @cython.locals(target=ConnectionCore, encoder=FrameEncoderC, frame=FrameC, payload=bytes, head=int, is_whole=bint)
    cdef void _put(self, item) except *
    @cython.locals(encoder=FrameEncoderC, size=Py_ssize_t)
    cdef void _put_chunk(self, chunk) except *
    @cython.locals(encoder=FrameEncoderC, head=int)
    cdef void _begin(self, header) except *
    cdef void _append(self, bytes data, long long missing=*) except *
    @cython.locals(target=ConnectionCore)
    cdef void _write(self, long long missing=*) except *
    cdef void _hold(self, awaitable, list rest) except *
    @cython.locals(connection=ConnectionCore)
    cdef void _all_passed(self) except *
    cdef void _lose_late(self) except *
    cdef void _callback_failed(self, exc) except *
    @cython.locals(is_full=bint)
    cpdef object update_reading(self)
