# The types that make raw_receiving.py a compiled module; its behaviour is all in the .py.
from aiohttp_rawws.session cimport raw_sending
from aiohttp_rawws.session.awaitables cimport receiving

cdef int DONE


cdef class RawReceiving(raw_sending.RawSending):
    cdef void _raise_failure(self) except *
