# The types that make incoming_chunks.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.session.incoming cimport IncomingHalf
from aiohttp_rawws.session.queues cimport IncomingQueue as IncomingQueueC
from aiohttp_rawws.wire.parser cimport FrameParser as FrameParserC

cdef int DONE


cdef class IncomingChunks(IncomingHalf):
    @cython.locals(parser=FrameParserC)
    cdef void _parse_in_chunks(self, data, Py_ssize_t nbytes) except *
    cpdef object want_chunks(self)
    cpdef object want_frames(self)
    @cython.locals(queue=IncomingQueueC)
    cpdef object skip_frame(self)
    cpdef object before_waiting(self)
    @cython.locals(queue=IncomingQueueC)
    cpdef object after_taking(self)
    cpdef object refuse(self, error)
