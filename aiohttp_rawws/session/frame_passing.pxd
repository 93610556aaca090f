# The types that make frame_passing.py a compiled module; its behaviour is all in the .py.
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


cdef class FramePassing(relay.RelayCore):
    cdef long long _passed
    cdef bytes _key
    cdef long long _written
    cdef readonly long long to_come

    @cython.locals(target=ConnectionCore, encoder=FrameEncoderC, frame=FrameC, payload=bytes, head=int, is_whole=bint)
    cdef void put(self, item) except *
    @cython.locals(encoder=FrameEncoderC, size=Py_ssize_t)
    cdef void put_chunk(self, chunk) except *
    @cython.locals(encoder=FrameEncoderC, head=int)
    cdef void _begin(self, header) except *
    cdef void _append(self, bytes data, long long missing=*) except *
    @cython.locals(target=ConnectionCore)
    cdef void write(self, long long missing=*) except *
