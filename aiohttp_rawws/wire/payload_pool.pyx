"""The memory of large payloads, which the compiled core uses again; see ``_payload_pool.h``."""

from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF

cdef extern from "_payload_pool.h":
    object rawws_new_payload(Py_ssize_t size)
    PyObject* rawws_kept_payload(Py_ssize_t size)
    void rawws_keep_payload(payload)
    Py_ssize_t rawws_pooled_bytes()


cdef object new_payload(Py_ssize_t size):
    """Return ``size`` bytes of undefined content, which nobody else has."""
    return rawws_new_payload(size)


cdef object kept_payload(Py_ssize_t size):
    """Return the same if they are there already, else None."""
    cdef PyObject* kept = rawws_kept_payload(size)
    if kept == NULL:
        return None
    payload = <object>kept
    Py_XDECREF(kept)
    return payload


cdef void keep_payload(payload) noexcept:
    """Keep a payload that was made in another way."""
    rawws_keep_payload(payload)


def pooled_bytes():
    """Return how many bytes are kept for payloads to come, and those of payloads that are in use among them.

    At most 16 MiB for the whole process, in payloads of 32 KiB to 4 MiB. The Python core keeps none.
    """
    return rawws_pooled_bytes()
