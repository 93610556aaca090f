# The types that make reading.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.session.awaitables cimport wake
from aiohttp_rawws.session.life cimport wake_all
from aiohttp_rawws.session.outgoing cimport OutgoingHalf
from aiohttp_rawws.session.queues cimport IncomingQueue as IncomingQueueC
from aiohttp_rawws.wire.parser cimport FrameParser as FrameParserC

cdef int OPEN
cdef int CLOSING
cdef int DONE


cdef class ReadingHalf(OutgoingHalf):
    cdef readonly IncomingQueueC queue
    cdef readonly FrameParserC parser
    cdef readonly object listener
    cdef list _untransformed
    cdef bint _wants_chunks
    cdef bint _skipping
    cdef bint _has_skipped
    cdef public bint in_place
    cdef bint _delivering
    cdef object _describe
    cdef public bint listen_awaited
    cdef bint _overflow_in_closes
    cdef readonly bint paused_by_user
    cdef readonly bint reading_paused
    cdef public bint answers_violations
    cdef public bint failure_reported
    cdef readonly long long frames_received
    cdef object _on_done
    cdef list _done_waiters
    cdef double _close_timeout
    cdef object _pending_close
    cdef object _close_delay

    cdef void update_reading(self) except *
    @cython.locals(queue=IncomingQueueC)
    cdef bint is_awaited(self) noexcept
    cdef list _without_skipped(self, list items)
    cdef void wake_receiver(self) except *
    cdef void wake_at_end(self) except *
    cdef void _finish_input(self, event) except *
    cpdef object release(self)
    cdef void when_done(self, callback) except *
    cpdef object stop_waiting(self, waiter)
    cdef object until_done(self)
    cdef void delay_pending_close(self, double delay) except *
    cpdef object send_pending_close(self)
    cpdef object withhold_close(self)
