# The types that make managed_messages.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.session cimport managed_life
from aiohttp_rawws.session.awaitables cimport wake
from aiohttp_rawws.session.messages cimport MessageAssembler as MessageAssemblerC, check_whole
from aiohttp_rawws.session.queues cimport IncomingQueue as IncomingQueueC
from aiohttp_rawws.wire.frames cimport is_whole_message, payload_size


cdef class ManagedMessages(managed_life.ManagedLife):
    @cython.locals(assembler=MessageAssemblerC)
    cdef object _assembled(self, item)
    cdef MessageAssemblerC _make_assembler(self)
    @cython.locals(queue=IncomingQueueC)
    cdef void _deliver(self, message) except *
    @cython.locals(queue=IncomingQueueC)
    cdef bint _waits_in_pieces(self, item) except -1
    cdef object _make_arriving(self)
    cpdef object after_pieces(self)
    cdef void _pause_for_pieces(self, arriving, IncomingQueueC queue) except *
    cdef void _overflowed(self, IncomingQueueC queue) except *
    cdef void _join_pieces(self) except *
    cdef object _joined(self, arriving)
