# The types that make send_queue.py a compiled module; its behaviour is all in the .py.
from aiohttp_rawws.session.life cimport Life, wake_all
from aiohttp_rawws.session.queues cimport OutgoingQueue as OutgoingQueueC
from aiohttp_rawws.wire.frames cimport is_close, is_control


cdef class SendQueue(Life):
    cdef OutgoingQueueC _queue_out
    cdef object _turns
    cdef readonly bint streaming
    cdef readonly bint write_paused
    cdef list _room_waiters
    cdef list _drain_waiters
    cdef bint _overflow_out_closes
    cdef Py_ssize_t _max_frames_out
    cdef Py_ssize_t _max_bytes_out

    cdef OutgoingQueueC _waiting_frames(self)
    cdef bint is_congested(self) noexcept
    cdef bint is_full(self) except -1
    cdef bint stops_listener(self) except -1
    cpdef object why_full(self, Py_ssize_t unsent)
    cdef bint must_wait(self, frame) except -1
    cdef Py_ssize_t unsent(self) except -1
    cdef object take_turn(self)
    cdef void leave_turn(self, turn) except *
    cdef void wake_senders(self) except *
    cdef void _end_turns(self) except *
    cpdef object room(self)
    cpdef object stop_waiting(self, waiter)
