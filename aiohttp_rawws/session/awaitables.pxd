from aiohttp_rawws.session.queues cimport IncomingQueue, Receiver


cpdef object receiving(Receiver session, bint iterating)
cpdef int wake(IncomingQueue queue) except -1
cpdef int step(IncomingQueue queue) except -1
cpdef object done()
