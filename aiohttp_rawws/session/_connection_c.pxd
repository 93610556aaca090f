# The types that make _connection.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.wire._codec_c cimport FrameEncoder as FrameEncoderC
from aiohttp_rawws.wire._codec_c cimport FrameParser as FrameParserC


cdef class ConnectionCore:
    cdef object _transport
    cdef object _loop
    cdef object _host
    cdef object _on_lost
    cdef bytearray _buffer
    cdef object _view
    cdef object _target
    cdef readonly FrameParserC parser
    cdef readonly FrameEncoderC encoder
    cdef bint _answers_violations
    cdef double _half_open_timeout
    cdef list _queue
    cdef Py_ssize_t _head
    cdef Py_ssize_t _queued_bytes
    cdef Py_ssize_t _in_capacity
    cdef Py_ssize_t _in_max_bytes
    cdef bint _in_overflow_closes
    cdef public object waiter
    cdef readonly object listener
    cdef readonly bint incoming_ended
    cdef readonly object failure
    cdef readonly object error
    cdef public bint heard
    cdef bint _discarding
    cdef bint _full
    cdef readonly bint held
    cdef bint _reading_paused
    cdef object _out
    cdef object _lane
    cdef Py_ssize_t _out_bytes
    cdef Py_ssize_t _out_capacity
    cdef Py_ssize_t _out_max_bytes
    cdef bint _out_overflow_closes
    cdef readonly bint overflowed
    cdef readonly bint write_paused
    cdef int _corked
    cdef bint _flush_scheduled
    cdef public object room_waiter
    cdef list _drain_waiters
    cdef public object ended_waiter
    cdef readonly object close_sent
    cdef readonly object close_received
    cdef readonly bint local_first
    cdef public bint ending
    cdef readonly bint eof
    cdef readonly bint lost
    cdef object _half_open_handle
    cdef long long _sent_before_check
    cdef readonly long long frames_received
    cdef readonly long long bytes_received
    cdef readonly long long frames_sent
    cdef readonly long long bytes_sent
    cdef object __weakref__

    cdef int _parse(self, data, Py_ssize_t nbytes) except -1
    cdef int _received(self, list items) except -1
    cdef int _enqueue(self, list items) except -1
    cdef list _admit(self, list items)
    cdef Py_ssize_t waiting(self) noexcept
    cdef bint is_incoming_full(self) noexcept
    cdef object take(self)
    cdef int _refill(self) except -1
    cdef int _govern_reading(self) except -1
    cdef int _end_incoming(self, error) except -1
    cdef int _listen_on(self) except -1
    cdef int _call_listener(self, list items) except -1
    cdef int put(self, frame) except -1
    cdef int put_prepared(self, prepared) except -1
    cdef int put_bytes(self, bytes data) except -1
    cdef int _batch(self) except -1
    cdef int write_batch(self) except -1
    cdef object _aside(self)
    cdef int _put_aside(self, frame) except -1
    cdef bint is_outgoing_full(self) noexcept
    cdef bint must_wait(self, frame) except -1
    cdef int _drain(self) except -1
    cdef int _wake_senders(self) except -1
