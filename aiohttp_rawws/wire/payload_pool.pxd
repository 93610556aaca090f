# The pool of the compiled core. The Python core has none.
cdef object new_payload(Py_ssize_t size)
cdef object kept_payload(Py_ssize_t size)
cdef void keep_payload(payload) noexcept
