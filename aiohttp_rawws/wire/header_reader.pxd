# The functions that the compiled parser calls as C.
from libc.stdint cimport uint32_t


cdef struct Header:
    int head  # the first byte
    long long length  # of the payload
    long long key  # the masking key as a big-endian number, -1 if there is none
    uint32_t mask  # the key as it lies in memory


cdef Py_ssize_t read_header(
    Header* header, const unsigned char* data, Py_ssize_t size, int strict, int masked, long long limit, int message
) except -1


cdef inline void set_key(Header* header, const unsigned char* key) noexcept:
    (<unsigned char*>&header.mask)[0] = key[0]
    (<unsigned char*>&header.mask)[1] = key[1]
    (<unsigned char*>&header.mask)[2] = key[2]
    (<unsigned char*>&header.mask)[3] = key[3]
    header.key = (<long long>key[0] << 24) | (key[1] << 16) | (key[2] << 8) | key[3]
