# The types that make endpoint.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.session.queues cimport IncomingQueue as IncomingQueueC


cdef class Endpoint:
    cdef readonly IncomingQueueC _queue
    cdef readonly object _loop
    cdef object __weakref__

    cdef void _before_waiting(self) except *
    cdef bint _is_over(self) except -1
    cdef void _raise_end(self, bint iterating) except *
    cdef void _on_taken(self) except *
    cdef object start_sending(self, item, compress)
    @cython.locals(queue=IncomingQueueC)
    cdef object _take(self)
