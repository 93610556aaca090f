# The types that make outgoing.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.session.life cimport wake_all
from aiohttp_rawws.session.queues cimport IncomingQueue as IncomingQueueC
from aiohttp_rawws.session.send_queue cimport SendQueue
from aiohttp_rawws.wire.frames cimport Frame as FrameC, PreparedFrame as PreparedFrameC
from aiohttp_rawws.wire.frames cimport is_close, is_control
from aiohttp_rawws.wire.encoder cimport FrameEncoder as FrameEncoderC

cdef Py_ssize_t BATCH
cdef Py_ssize_t UNJOINED
cdef Py_ssize_t UNJOINED_ALONE
cdef int WRITES_BETWEEN_CHECKS
cdef int OPCODE
cdef int CLOSE
cdef int SEND_DONE


cdef class OutgoingHalf(SendQueue):
    cdef readonly FrameEncoderC encoder
    cdef public IncomingQueueC consumer_queue
    cdef readonly object pipeline
    cdef readonly bint gathers
    cdef int _corked
    cdef public bint batching
    cdef bint _flush_scheduled
    cdef int _unchecked
    cdef readonly long long frames_sent
    cdef readonly long long bytes_sent

    @cython.locals(encoder=FrameEncoderC)
    cdef void send_frame(self, FrameC frame, compress=*) except *
    @cython.locals(encoder=FrameEncoderC)
    cdef void _send_large(self, FrameC frame) except *
    cdef void send_prepared(self, PreparedFrameC prepared) except *
    cpdef object check_whole(self, message)
    @cython.locals(encoder=FrameEncoderC)
    cdef bint try_send_prepared(self, PreparedFrameC prepared) except -1
    cdef void send_bytes(self, bytes data) except *
    cdef bint _holds_back(self) noexcept
    cdef void _batch(self) except *
    cdef void write_batch(self) except *
    cdef void _write(self, bytes data) except *
    cdef void _write_both(self, bytes batch, bytes payload) except *
    cdef void _count_write(self) except *
    cdef void cork(self) except *
    cdef void uncork(self) except *
    cdef void _enqueue_frame(self, FrameC frame) except *
    cdef Py_ssize_t unsent(self) except -1
    cpdef object undelivered(self)
    cpdef object bytes_taken(self)
    @cython.locals(encoder=FrameEncoderC)
    cdef void drain(self) except *
    cpdef object drained(self)
    cdef void forget_outgoing(self) except *
