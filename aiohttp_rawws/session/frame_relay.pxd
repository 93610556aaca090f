# The types that make frame_relay.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.session cimport frame_passing
from aiohttp_rawws.session.connection cimport ConnectionCore


cdef class FrameRelayCore(frame_passing.FramePassing):
    cdef readonly object cancelled
    cdef object _session
    cdef object _on_frame
    cdef object _target
    cdef object _held
    cdef object _waiting
    cdef long long _waiting_size
    cdef long long _high_water
    cdef bint _ends_later
    cdef bint _is_lost_later

    @cython.locals(connection=ConnectionCore)
    cdef void _parsed(self, list items) except *
    cdef Py_ssize_t _count(self, list items) except -1
    cdef void _came(self, list items) except *
    @cython.locals(count=Py_ssize_t)
    cdef void _pass_items(self, list items) except *
    cdef void _pass_waiting(self) except *
    @cython.locals(target=ConnectionCore)
    cdef bint _pass_item(self, item) except -1
    cdef bint _put_result(self, result) except -1
    cdef void _hold(self, awaitable) except *
    cdef void _let_wait(self, list items) except *
    cdef void _drop_waiting(self) except *
    @cython.locals(connection=ConnectionCore)
    cdef void _all_passed(self) except *
    cdef void _lose_late(self) except *
    cdef void _callback_failed(self, exc) except *
    @cython.locals(is_full=bint)
    cpdef object update_reading(self)
