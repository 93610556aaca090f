# The types that make messaging.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.session.awaitables cimport done, receiving, wake
from aiohttp_rawws.session.messages cimport MessageAssembler as MessageAssemblerC, check_whole
from aiohttp_rawws.session.raw cimport WebSocketSession as WebSocketSessionC
from aiohttp_rawws.session cimport queues
from aiohttp_rawws.wire.frames cimport is_close, is_control, is_prepared, is_whole_message


cdef class ManagedCore(queues.Receiver):
    cdef readonly WebSocketSessionC _raw
    cdef public object _options
    cdef public tuple _extensions
    cdef public bint _started
    cdef public object _pipeline
    cdef public MessageAssemblerC _assembler
    cdef public Py_ssize_t _limit_of_message
    cdef bint _overflow_closes
    cdef readonly bint _over
    cdef readonly object _failure
    cdef public object _unsent_close
    cdef readonly object _listener
    cdef object _sending
    cdef Py_ssize_t _senders
    cdef object __weakref__

    cpdef object _on_frame(self, item)
    @cython.locals(assembler=MessageAssemblerC)
    cdef object _assembled(self, item)
    cdef void _deliver(self, message) except *
    cpdef object _end_messages(self, failure)
    cdef void _send_transformed(self, frame, compress) except *


@cython.locals(managed=ManagedCore, raw_session=WebSocketSessionC, count=Py_ssize_t)
cpdef Py_ssize_t send_to_all(sessions, prepared, list others) except -1
