"""The compiled ``masking.py``. It has no behaviour of its own."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from aiohttp_rawws.wire.masking_keys cimport checked_key

from .masking_keys import new_masking_key

__all__ = ["apply_mask", "new_masking_key"]


def apply_mask(payload, masking_key, offset=0):
    """Mask or unmask a payload (RFC 6455, section 5.3).

    Args:
        payload: Any contiguous buffer of n bytes. It is not changed.
        masking_key: 4 bytes.
        offset: Bytes of this frame's payload that were masked before this call. Default: 0.

    Returns:
        n new bytes.

    Raises:
        ValueError: ``masking_key`` is not 4 bytes long, or ``offset`` is negative.
    """
    cdef bytes key = checked_key(bytes(memoryview(masking_key)))
    if offset < 0:
        raise ValueError(f"offset is {offset}, and cannot be negative")
    cdef uint32_t mask
    memcpy(&mask, PyBytes_AS_STRING(key), 4)
    cdef Py_buffer view
    PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
    try:
        return masked_copy(<const unsigned char*>view.buf, view.len, rawws_turned(mask, offset & 3))
    finally:
        PyBuffer_Release(&view)


cdef bytes masked_copy(const unsigned char* data, Py_ssize_t size, uint32_t key):
    cdef bytes copy = <bytes>PyBytes_FromStringAndSize(NULL, size)
    rawws_mask_copy(<unsigned char*>PyBytes_AS_STRING(copy), data, size, key)
    return copy
