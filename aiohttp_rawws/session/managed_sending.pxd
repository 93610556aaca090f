# The types that make managed_sending.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.session cimport managed_receiving
from aiohttp_rawws.session.awaitables cimport sending
from aiohttp_rawws.session.connection cimport ConnectionCore as ConnectionCoreC
from aiohttp_rawws.session.surface cimport as_frame
from aiohttp_rawws.wire.frames cimport is_close, is_control, is_prepared


cdef class ManagedSending(managed_receiving.ManagedReceiving):
    @cython.locals(connection=ConnectionCoreC)
    cdef void _send_transformed(self, frame, compress, bint whole) except *
    cdef bint _is_behind(self) except -1
