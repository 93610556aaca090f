# The types that make relay.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.session.connection cimport ConnectionCore
from aiohttp_rawws.wire.frames cimport is_close
from aiohttp_rawws.wire.watcher cimport FrameWatcher as FrameWatcherC


cdef class RelayCore:
    cdef readonly ConnectionCore connection
    cdef readonly object endings
    cdef readonly RelayCore other
    cdef readonly FrameWatcherC watcher
    cdef bytearray _buffer
    cdef object _view
    cdef public bint is_over
    cdef readonly bint is_close_passed
    cdef readonly long long frames_received
    cdef readonly long long bytes_received
    cdef readonly long long frames_sent
    cdef readonly long long bytes_sent

    @cython.locals(connection=ConnectionCore)
    cpdef object take_over(self, RelayCore other)
    @cython.locals(connection=ConnectionCore, other=RelayCore, items=list, wire=bytes, missing=cython.longlong, frames=cython.longlong)
    cpdef object pass_held(self)
    cpdef object leave(self)
    cpdef object connection_lost(self, exc)
    cpdef object eof_received(self)
    @cython.locals(connection=ConnectionCore, watcher=FrameWatcherC, before=cython.longlong, frames=cython.longlong, wire=bytes)
    cpdef object take(self, data, Py_ssize_t nbytes)
    @cython.locals(target=ConnectionCore, owed=cython.longlong)
    cdef void pass_bytes(self, bytes wire, long long frames, long long missing) except *
    cpdef object end_direction(self)
    cpdef object pass_rest(self)
    @cython.locals(watcher=FrameWatcherC)
    cpdef bint is_inside_frame(self) except -1
    @cython.locals(connection=ConnectionCore)
    cpdef object stop_holding(self)
    cpdef object note_close_received(self, reason)
    @cython.locals(connection=ConnectionCore)
    cpdef object note_close_sent(self, reason)
    cpdef object get_buffer(self, sizehint)
    @cython.locals(connection=ConnectionCore)
    cpdef object buffer_updated(self, Py_ssize_t nbytes)
    @cython.locals(connection=ConnectionCore)
    cpdef object update_reading(self)
