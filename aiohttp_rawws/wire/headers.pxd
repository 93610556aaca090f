# The types that make headers.py a compiled module; its behaviour is all in the .py.
from aiohttp_rawws.wire.masking_keys cimport checked_key

cdef int FIN
cdef int RSV1
cdef int RSV2
cdef int RSV3
cdef int OPCODE
cdef int MASKED
cdef int LENGTH_16
cdef int LENGTH_64

cpdef int head_byte(int opcode, bint fin, bint rsv1, bint rsv2, bint rsv3) except -1
cpdef bytes header_bytes(int head, long long length, bytes masking_key)
