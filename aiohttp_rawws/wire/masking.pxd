# The functions that other compiled modules call as C.
from libc.stdint cimport uint32_t

cdef extern from "_mask.h":
    void rawws_mask_copy(unsigned char* to, const unsigned char* from_, size_t size, uint32_t key) noexcept nogil
    void rawws_mask(unsigned char* data, size_t size, uint32_t key) noexcept nogil
    uint32_t rawws_turned(uint32_t key, size_t offset) noexcept nogil

cdef bytes masked_copy(const unsigned char* data, Py_ssize_t size, uint32_t key)
