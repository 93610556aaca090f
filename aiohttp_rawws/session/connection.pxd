# The types that make connection.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.session.awaitables cimport step, wake
from aiohttp_rawws.session.queues cimport IncomingQueue as IncomingQueueC
from aiohttp_rawws.session.queues cimport OutgoingQueue as OutgoingQueueC
from aiohttp_rawws.wire.framing cimport FrameEncoder as FrameEncoderC
from aiohttp_rawws.wire.framing cimport FrameParser as FrameParserC
from aiohttp_rawws.wire.frames cimport Frame as FrameC, PreparedFrame as PreparedFrameC
from aiohttp_rawws.wire.frames cimport is_close, is_control

cdef Py_ssize_t BATCH
cdef Py_ssize_t UNJOINED
cdef int UNCHECKED
cdef int OPCODE
cdef int CLOSE


cdef class ConnectionCore:
    # What each frame needs, first and together: among thousands of sessions every line of it comes from memory.
    cdef object _transport
    cdef readonly FrameEncoderC encoder
    cdef readonly IncomingQueueC queue
    cdef public IncomingQueueC taken_from
    cdef readonly object close_sent
    cdef OutgoingQueueC _out
    cdef readonly object pipeline
    cdef readonly bint write_paused
    cdef public bint ending
    cdef readonly bint lost
    cdef readonly bint broken
    cdef readonly bint overflowed
    cdef int _corked
    cdef public bint batching
    cdef bint _flush_scheduled
    cdef int _unchecked
    cdef readonly long long frames_sent
    cdef readonly long long bytes_sent
    cdef readonly long long bytes_received
    cdef readonly long long frames_received
    cdef readonly FrameParserC parser
    cdef readonly object listener
    cdef bytearray _buffer
    cdef object _view
    cdef object _target
    cdef readonly object close_received
    cdef bint _in_overflow_closes
    cdef bint _discarding
    cdef readonly bint held
    cdef bint _reading_paused
    cdef readonly bint incoming_ended
    cdef readonly bint local_first
    cdef readonly bint eof
    cdef public bint answers_violations
    cdef public bint heard
    cdef bint _out_overflow_closes

    cdef object _loop
    cdef object _host
    cdef object _on_lost
    cdef object on_end
    cdef object _unsent_close
    cdef readonly object failure
    cdef readonly object error
    cdef list _room_waiters
    cdef list _drain_waiters
    cdef public object ended_waiter
    cdef object _half_open_handle
    cdef double _half_open_timeout
    cdef long long _sent_before_check
    cdef Py_ssize_t _out_capacity
    cdef Py_ssize_t _out_max_bytes
    cdef object __weakref__

    cpdef object get_buffer(self, sizehint)
    cpdef object buffer_updated(self, Py_ssize_t nbytes)
    cdef void _parse(self, data, Py_ssize_t nbytes) except *
    cdef void _received(self, list items) except *
    cpdef object send_farewell(self)
    cdef void apply(self, pipeline) except *
    cdef list _transformed(self, list items)
    cdef void _enqueue(self, list items) except *
    cdef bint _has_woken(self) noexcept
    cdef void _wake_receiver(self) except *
    cdef void refill(self) except *
    cdef void _govern_reading(self) except *
    cdef void _end_incoming(self, error) except *
    cdef void _tell_end(self) except *
    cdef void when_ended(self, callback) except *
    cdef void discard_input(self) except *
    cdef void hold(self, bint held) except *
    cdef void listen(self, listener) except *
    cdef void _listen_on(self) except *
    @cython.locals(taken=Py_ssize_t)
    cdef void _call_listener(self, list items) except *
    @cython.locals(encoder=FrameEncoderC)
    cdef void put(self, FrameC frame) except *
    cdef void put_prepared(self, prepared) except *
    @cython.locals(encoder=FrameEncoderC)
    cdef bint put_ready(self, PreparedFrameC prepared) except -1
    cdef void put_bytes(self, bytes data) except *
    cdef bint _holds_back(self) noexcept
    cdef void _batch(self) except *
    cdef void write_batch(self) except *
    cdef void _write(self, bytes data) except *
    cdef bint has_ended(self) noexcept
    cdef void cork(self) except *
    cdef void uncork(self) except *
    cdef OutgoingQueueC _aside(self)
    cdef void _put_aside(self, frame) except *
    cdef bint is_outgoing_full(self) except -1
    cdef bint must_wait(self, frame) except -1
    cdef Py_ssize_t unsent(self) except -1
    cdef void _drain(self) except *
    cdef void _wake_senders(self) except *
    cdef object room(self)
    cdef object drained(self)
    cdef object cannot_send(self)
    cdef object closed_error(self)
    cdef object own(self, error)
    cdef bint owns(self, exc) except -1
    cdef object state(self)
