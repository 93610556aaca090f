from aiohttp_rawws.session._connection_c cimport ConnectionCore


cpdef object receiving(session, ConnectionCore connection, bint iterating)
cpdef object done()
