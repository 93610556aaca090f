# The types that make part_surface.py a compiled module; its behaviour is all in the .py.
from aiohttp_rawws.session cimport surface


cdef class PartSurface(surface.Surface):
    pass
