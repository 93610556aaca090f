# The types that make masking_keys.py a compiled module; its behaviour is all in the .py.
cdef bytes _pool
cdef Py_ssize_t _used

cpdef bytes checked_key(bytes masking_key)
cpdef bytes new_masking_key()
