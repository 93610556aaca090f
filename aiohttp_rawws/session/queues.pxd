# The types that make queues.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.wire.frames cimport is_close, payload_size

cdef list _EMPTY


@cython.final
cdef class IncomingQueue:
    cdef readonly Py_ssize_t capacity
    cdef readonly Py_ssize_t max_bytes
    cdef list _items
    cdef Py_ssize_t _head
    cdef readonly Py_ssize_t size
    cdef public object waiter
    cdef public object idle_waiter
    cdef public bint has_listener
    cdef public bint has_stream
    cdef public bint full
    cdef public bint ending

    cdef bint can_take(self) noexcept
    cpdef Py_ssize_t count(self) noexcept
    cpdef object put(self, list items)
    cpdef object put_one(self, item)
    cpdef object first(self)
    cpdef object take(self)
    cdef list take_all(self)
    cdef Py_ssize_t free_slots(self) noexcept
    cdef Py_ssize_t free_bytes(self) noexcept
    cpdef bint is_full(self) noexcept
    cdef bint is_half_empty(self) noexcept
    cdef list admit(self, list items)


@cython.final
cdef class OutgoingQueue:
    cdef Py_ssize_t _capacity
    cdef Py_ssize_t _max_bytes
    cdef object _frames
    cdef object _control
    cdef Py_ssize_t _size

    cdef Py_ssize_t count(self) except -1
    cdef Py_ssize_t size_of_all(self) except -1
    cdef void put(self, bytes wire) except *
    cdef void put_control(self, bytes wire) except *
    cdef bint has_room_for_control(self) except -1
    cdef bytes take(self)
    cdef bint is_full(self) except -1
