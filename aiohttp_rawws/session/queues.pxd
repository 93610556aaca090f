# The types that make queues.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.wire.frames cimport is_close, payload_size


@cython.final
cdef class IncomingQueue:
    cdef readonly Py_ssize_t capacity
    cdef readonly Py_ssize_t max_bytes
    cdef list _items
    cdef Py_ssize_t _head
    cdef readonly Py_ssize_t size
    cdef public object waiter
    cdef object idle_waiter
    cdef public bint has_listener
    cdef public bint full

    cdef bint can_take(self) noexcept
    cpdef Py_ssize_t count(self) noexcept
    cpdef object unbound(self)
    cdef void put(self, list items) except *
    cdef void put_one(self, item) except *
    cdef object take(self)
    cdef list take_all(self)
    cdef Py_ssize_t room(self) noexcept
    cdef Py_ssize_t room_in_bytes(self) noexcept
    cdef bint is_full(self) noexcept
    cdef bint is_half_empty(self) noexcept
    cdef list admit(self, list items)


cdef class Receiver:
    cdef readonly IncomingQueue _queue
    cdef public object _loop

    cdef void _before_waiting(self) except *
    cdef bint _is_over(self) except -1
    cdef void _raise_end(self, bint iterating) except *
    cdef void _refill(self) except *
    cdef object _take(self)


@cython.final
cdef class OutgoingQueue:
    cdef Py_ssize_t _capacity
    cdef Py_ssize_t _max_bytes
    cdef object _frames
    cdef object _lane
    cdef Py_ssize_t _size

    cdef Py_ssize_t count(self) except -1
    cdef void put(self, bytes wire) except *
    cdef void put_control(self, bytes wire) except *
    cdef bint has_lane(self) except -1
    cdef bytes take(self)
    cdef bint is_full(self) except -1
