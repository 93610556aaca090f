# The types that make frames.py a compiled module; its behaviour is all in the .py.
cimport cython

from aiohttp_rawws.wire.headers cimport head_byte, header_bytes

cdef int FIN
cdef int RSV1
cdef int RSV2
cdef int RSV3
cdef int OPCODE
cdef int CONTROL
cdef int TEXT
cdef int BINARY
cdef int CLOSE
cdef int PING
cdef int PONG
cdef int UNMASKED
cdef int MAX_CONTROL_PAYLOAD
cdef int REPR_BYTES

cdef tuple OPCODES


cdef class _Text:
    pass


# No field holds anything but bytes, so frames are no work for the garbage collector.
cdef class Frame:
    cdef unsigned char _head
    cdef unsigned char _kind
    cdef bytes _payload
    cdef long long _key

    cdef bint _is(self, Frame other) except -1


cdef class PreparedFrame:
    cdef Frame _frame
    cdef bytes _wire


cdef int _check_control(int head, Py_ssize_t size) except -1
cdef int _checked_kind(int opcode, int kind) except -1
cdef bytes _as_bytes(payload)
cdef Frame _data_frame(int opcode, bytes payload, bint fin, bint rsv1, bint rsv2, bint rsv3)
cdef Frame _control_frame(int opcode, bytes payload)
@cython.locals(payload=bytes)
cdef str _decoded(Frame frame)
cdef list _repr_of_payload(Frame frame)
cdef bytes _wire_of(Frame frame)
cdef int _head_of(Frame frame) except -1

@cython.locals(frame=Frame)
cpdef Frame make_frame(int head, int kind, bytes payload, long long key)
cpdef Frame with_payload(Frame frame, bytes payload, bint rsv1)
cpdef object header_of(int head, int kind, long long length, long long key)
@cython.locals(frame=Frame)
cpdef Py_ssize_t payload_size(item) except -1
cpdef bint is_prepared(item) noexcept
@cython.locals(frame=Frame)
cpdef bint is_control(item) except -1
@cython.locals(frame=Frame)
cpdef bint is_close(item) except -1
@cython.locals(frame=Frame, head=int)
cpdef bint is_whole_message(item) except -1
@cython.locals(frame=Frame)
cpdef bint is_text(item) except -1
