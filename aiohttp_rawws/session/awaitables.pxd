from aiohttp_rawws.session.endpoint cimport Endpoint
from aiohttp_rawws.session.queues cimport IncomingQueue


cpdef object receiving(Endpoint session, bint iterating)
cpdef object sending(Endpoint session, item, compress)
cpdef int wake(IncomingQueue queue) except -1
cpdef int step(IncomingQueue queue) except -1
