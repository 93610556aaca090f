"""The compiled ``watcher.py``. It has no behaviour of its own."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcpy

from aiohttp_rawws.wire.header_reader cimport Header, read_header
from aiohttp_rawws.wire.parser cimport FrameParser

from ..errors import PeerError, ProtocolViolation
from . import _shared as shared
from . import codes
from . import header_bits as bits
from .masking import apply_mask

__all__ = ["FrameWatcher"]

cdef int CONTINUATION = bits.CONTINUATION
cdef int TEXT = bits.TEXT
cdef int BINARY = bits.BINARY
cdef int CLOSE = bits.CLOSE
cdef int CONTROL = bits.CONTROL
cdef int OPCODE = bits.OPCODE
cdef int FIN = bits.FIN
cdef int MASKED = bits.MASKED
cdef int LENGTH_16 = bits.LENGTH_16
cdef Py_ssize_t MAX_CONTROL_PAYLOAD = codes.MAX_CONTROL_PAYLOAD
cdef long long NO_LIMIT = shared.NO_LIMIT
cdef long long ENDLESS = NO_LIMIT


@cython.final
cdef class FrameWatcher:
    """Finds the frames in the bytes of one direction, and lets the bytes pass as they are; see ``watcher.py``."""

    def __init__(self, FrameParser parser not None, int message=CONTINUATION, long long missing=0):
        """
        Args:
            parser: The parser that would take the bytes.
            message: The kind of the message that is open. Default: CONTINUATION (none is).
            missing: Bytes of payload to come of a data frame that is open. Default: 0 (none is).
        """
        self._parser = parser
        self._message = message
        self._key = -1
        self.missing = missing
        self.close_payload = b""

    cpdef bytes pass_on(self, data, Py_ssize_t length=-1):
        """Watch the next bytes.

        Args:
            data: Any contiguous buffer. It is not kept.
            length: Bytes of ``data`` that count. Default: all.

        Returns:
            The bytes to pass on.
        """
        cdef Py_buffer view
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if length > view.len:
                shared.checked_length(length, view.len)
            return self._pass_on(<const unsigned char*>view.buf, view.len if length < 0 else length)
        finally:
            PyBuffer_Release(&view)

    cpdef bytes rest(self):
        """Return the part of a header that is held back, at the end of the bytes. It is held no more."""
        cdef Py_ssize_t held = self._held
        self._held = 0
        return PyBytes_FromStringAndSize(<const char*>self._header, held)

    cdef bytes _pass_on(self, const unsigned char* data, Py_ssize_t size):
        cdef Py_ssize_t total = self._held + size, passed
        cdef bytes received
        cdef unsigned char* start
        if self._parser is None:
            raise shared.not_made(self)
        if self.closed or self.error is not None or total == 0:
            return b""
        # Not from the pool of payloads: it is written at once, and the same memory, still in the cache, is the next.
        received = <bytes>PyBytes_FromStringAndSize(NULL, total)
        start = <unsigned char*>PyBytes_AS_STRING(received)
        memcpy(start, self._header, self._held)
        memcpy(start + self._held, data, size)
        passed = self._watch(start, total)
        self._held = 0
        if passed == total:
            return received
        if not self.closed and self.error is None:
            self._held = total - passed
            memcpy(self._header, start + passed, self._held)
        return PyBytes_FromStringAndSize(<const char*>start, passed)

    cdef Py_ssize_t _watch(self, const unsigned char* data, Py_ssize_t size) except -1:
        """Return how many bytes of ``data`` may pass."""
        cdef FrameParser parser = self._parser
        cdef long long limit = parser._limit
        # read_header() has a limit of its own for control frames if there is no other; but nothing is stored here.
        cdef long long most = NO_LIMIT - 1 if limit == NO_LIMIT else limit
        cdef Header header
        cdef int head, expected = MASKED if parser._masked > 0 else 0
        cdef Py_ssize_t position = 0, used
        cdef Py_ssize_t length, start
        if self.missing:
            position = self._continue(data, size)
        try:
            while position < size and not self.closed:
                head = data[position]
                # A whole message below 64 KiB with nothing wrong about it, as in the parser.
                if (
                    (head == (FIN | TEXT) or head == (FIN | BINARY))
                    and self._message == CONTINUATION
                    and parser._masked >= 0
                    and position + 8 <= size
                ):
                    length = data[position + 1] ^ expected
                    start = position + 2
                    if length == LENGTH_16:
                        length = (data[position + 2] << 8) | data[position + 3]
                        start += 2
                        if length < LENGTH_16:
                            length = NO_LIMIT
                    elif length > LENGTH_16:
                        length = NO_LIMIT
                    if length <= most:
                        if expected:
                            start += 4
                        position = start + length
                        if position <= size:
                            self.frames += 1
                        else:
                            self.missing = position - size
                            position = size
                        continue
                used = read_header(
                    &header, data + position, size - position, parser._strict, parser._masked, most, self._message
                )
                if used == 0:
                    break
                position += used
                self.missing = header.length
                head = header.head
                if not head & CONTROL:  # section 5.4
                    if head & FIN:
                        self._message = CONTINUATION
                    elif head & OPCODE:
                        self._message = head & OPCODE
                elif (head & OPCODE) == CLOSE:
                    self._closing = True
                    self._key = header.key
                if self.missing:
                    position += self._continue(data + position, size - position)
                else:
                    self._end()
        except PeerError as error:
            if parser._strict or (limit != NO_LIMIT and not isinstance(error, ProtocolViolation)):
                self.error = error
                return position
            self.missing = ENDLESS
            return size
        return position

    cdef Py_ssize_t _continue(self, const unsigned char* data, Py_ssize_t size) except -1:
        """Let the open frame pass, as far as it is there. Returns how many bytes."""
        cdef Py_ssize_t room
        if size > self.missing:
            size = <Py_ssize_t>self.missing
        if self._closing:
            room = min(size, MAX_CONTROL_PAYLOAD - len(self.close_payload))
            self.close_payload += PyBytes_FromStringAndSize(<const char*>data, room)
        self.missing -= size
        if self.missing == 0 and size:
            self._end()
        return size

    cdef int _end(self) except -1:
        self.frames += 1
        if self._closing:
            self.closed = True
            if self._key >= 0:
                self.close_payload = apply_mask(self.close_payload, (<object>self._key).to_bytes(4, "big"))
        return 0
