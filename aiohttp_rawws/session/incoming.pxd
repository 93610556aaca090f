# The types that make incoming.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.session.queues cimport IncomingQueue as IncomingQueueC
from aiohttp_rawws.session.reading cimport ReadingHalf

cdef int OPEN
cdef int CLOSING
cdef int DONE


cdef class IncomingHalf(ReadingHalf):
    cdef void parse(self, data, Py_ssize_t nbytes) except *
    cdef void _received(self, list items) except *
    cdef void _add(self, list items) except *
    cdef void _transform(self) except *
    @cython.locals(queue=IncomingQueueC)
    cdef void _enqueue(self, list items) except *
    cdef void refill(self) except *
    cdef void _pass_on(self) except *
    cdef void apply(self, pipeline) except *
    cdef void set_paused(self, bint paused) except *
    cpdef object end_input(self, event, error=*)
    cpdef object check_all_taken(self)
    cpdef object discard_input(self)
    cdef void _violated(self, error) except *
    cpdef object listen(self, listener, consumer_queue=*, describe=*)
    cpdef object continue_listening(self)
    cdef bint _may_have_to_wait(self) noexcept
    cdef bint _may_deliver(self) except -1
    @cython.locals(taken=Py_ssize_t)
    cdef void _deliver(self, list items) except *
    cdef void _listener_failed(self, exc) except *
    cpdef object abort(self)
