# The types that make life.py a compiled module; its behaviour is all in the .py.
cdef int LOST
cdef int RECEIVE_DONE


cpdef void wake_all(list waiters) except *


cdef class Life:
    cdef readonly object transport
    cdef readonly object _loop
    cdef readonly object tap
    cdef readonly int receive_phase
    cdef readonly int send_phase
    cdef readonly int connection_phase
    cdef public bint eof
    cdef public bint dropped
    cdef public bint inside_frame
    cdef public bint end_reported
    cdef readonly bint local_first
    cdef readonly object close_sent
    cdef readonly object close_received
    cdef public object observer
    cdef readonly object failure
    cdef public object failure_traceback
    cdef readonly object outgoing_failure
    cdef public object error
    cdef list _lost_waiters
    cdef object _mark

    cdef void move(self, event) except *
    cpdef bint is_lost(self) noexcept
    cpdef object state(self)
    cdef void drop_tap(self) except *
    cpdef object own(self, error)
    cpdef bint owns(self, exc) except -1
    cpdef object closed_error(self)
    cpdef object cannot_send(self)
    cdef object fail_outgoing(self)
    cpdef object until_lost(self)
    cpdef object stop_waiting(self, waiter)
