# The types that make ending.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.session.incoming_chunks cimport IncomingChunks

cdef int DISCONNECTING
cdef int SEND_CLOSING
cdef int SEND_DONE


cdef class EndingHalf(IncomingChunks):
    cdef public object limit
    cdef public object limit_text
    cdef object _delivery_timer
    cdef object _half_open_handle
    cdef bint _ends_output
    cdef readonly bint is_client
    cdef object _moved_before

    cpdef object end_output(self)
    cpdef object finish_output(self)
    cpdef object disconnect(self, bint keep_received=*)
    cdef void continue_disconnecting(self) except *
    cpdef object end_at_limit(self, option, text)
    cdef void watch_half_open(self) except *
    cdef void stop_timers(self) except *
