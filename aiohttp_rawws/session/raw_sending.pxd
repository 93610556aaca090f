# The types that make raw_sending.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.session cimport part_surface
from aiohttp_rawws.session.awaitables cimport sending
from aiohttp_rawws.session.connection cimport ConnectionCore as ConnectionCoreC
from aiohttp_rawws.session.surface cimport as_frame
from aiohttp_rawws.wire.frames cimport is_prepared


cdef class RawSending(part_surface.PartSurface):
    @cython.locals(connection=ConnectionCoreC, before="long long", sent="long long")
    cdef object start_sending(self, item, compress)
    cdef void _put(self, item) except *
