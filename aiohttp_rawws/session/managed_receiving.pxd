# The types that make managed_receiving.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.session cimport managed_messages
from aiohttp_rawws.session.awaitables cimport receiving
from aiohttp_rawws.session.messages cimport check_whole
from aiohttp_rawws.session.queues cimport IncomingQueue as IncomingQueueC
from aiohttp_rawws.wire.frames cimport is_control, is_whole_message


cdef class ManagedReceiving(managed_messages.ManagedMessages):
    cpdef object _on_frame(self, item)
    cdef void _on_control(self, frame) except *
    cdef void _count_control(self) except *
    cdef void _on_close(self, reason) except *
