"""The compiled parser: ``parser.py`` with pointers. It has no behaviour of its own."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromObject
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove

from aiohttp_rawws.wire.frames cimport Frame, header_of, make_frame
from aiohttp_rawws.wire.masking cimport masked_copy, rawws_mask, rawws_mask_copy, rawws_turned

from ..errors import FrameTooBig, PeerError, ProtocolViolation
from . import _rules as rules
from . import codes
from . import header_bits as bits
from .frames import FrameChunk

__all__ = ["FrameParser"]

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject** data, Py_ssize_t size) except -1
    Py_ssize_t Py_REFCNT(PyObject* data)

cdef extern from "_frame_pool.h":
    void rawws_keep_frames(type type)

rawws_keep_frames(Frame)

cdef int CONTINUATION = bits.CONTINUATION
cdef int TEXT = bits.TEXT
cdef int BINARY = bits.BINARY
cdef int CLOSE = bits.CLOSE
cdef int CONTROL = bits.CONTROL
cdef int OPCODE = bits.OPCODE
cdef int FIN = bits.FIN
cdef int MASKED = bits.MASKED
cdef int LENGTH_16 = bits.LENGTH_16
cdef int LENGTH_64 = bits.LENGTH_64
cdef int MAX_CONTROL_PAYLOAD = codes.MAX_CONTROL_PAYLOAD

cdef enum:
    LONGEST_HEADER = 14
    # A length up to here is taken at its word: memory that no byte has arrived for is not touched.
    TRUSTED_LENGTH = 1024 * 1024

cdef long long NO_LIMIT = rules.NO_LIMIT
cdef long long LARGE = rules.LARGE


cdef inline unsigned char* _start_of(PyObject* data) noexcept:
    return <unsigned char*>PyBytes_AS_STRING(<object>data)


cdef inline PyObject* _new_bytes(Py_ssize_t size) except NULL:
    """A new reference to ``size`` bytes that nobody has written."""
    cdef object data = PyBytes_FromStringAndSize(NULL, size)
    Py_INCREF(data)
    return <PyObject*>data


cdef class _Window:
    """The exporter behind ``target()``. It owns the bytes it shows, so that a view which someone still holds when the
    payload is moved or delivered is out of date, but not out of memory."""

    cdef object _owner
    cdef unsigned char* _start
    cdef Py_ssize_t _size

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self._start, self._size, 0, flags)


@cython.final
cdef class FrameParser:
    """Turns the bytes of one direction of a connection into frames, whatever way they are cut. One caller at a time.

    masked: True if the peer must mask (it is a client), False if it must not, None to take either.
    strict: refuse what RFC 6455 refuses; otherwise deliver what can be delivered.
    max_frame_size: bytes of payload a frame may have, None for any.
    chunk_above: bytes of payload above which a data frame that comes in pieces is passed on in pieces; None for never.
    All four can be set at any time and hold from the next header on.

    What the peer did wrong is never raised: ``error`` is the PeerError, and nothing is parsed after it. Nor is anything
    after a Close frame, when ``closed`` is True (section 5.5.1).

    pending: bytes held that were not parsed, because ``feed`` was told where to stop or a header is incomplete.
    mid_frame: bytes of a frame that was not delivered are held, so that the stream must not end here.
    """

    def __init__(self, *, masked=True, strict=True, max_frame_size=None, chunk_above=None):
        self.masked = masked
        self.strict = strict
        self.max_frame_size = max_frame_size
        self.chunk_above = chunk_above

    def __dealloc__(self):
        Py_XDECREF(self._payload)
        free(self._leftover)

    @property
    def masked(self):
        return None if self._masked < 0 else self._masked == 1

    @masked.setter
    def masked(self, value):
        self._masked = -1 if value is None else 1 if value else 0

    @property
    def max_frame_size(self):
        return None if self._limit == NO_LIMIT else self._limit

    @max_frame_size.setter
    def max_frame_size(self, value):
        self._limit = rules.checked_limit("max_frame_size", value)

    @property
    def chunk_above(self):
        return None if self._chunk_above == NO_LIMIT else self._chunk_above

    @chunk_above.setter
    def chunk_above(self, value):
        self._chunk_above = rules.checked_limit("chunk_above", value)

    cpdef list feed(self, data, Py_ssize_t length=-1, Py_ssize_t max_frames=-1, Py_ssize_t max_bytes=-1):
        """What ``data`` completes, in order.

        data: any contiguous buffer, not kept. length: how many of its bytes count; all if negative.
        max_frames, max_bytes: begin no other frame once so many items, or bytes of payload, were produced; no bound if
        negative. What remains is held, and parsed by the next call, which may be ``feed(b"")``.
        """
        cdef Py_buffer view
        cdef Py_ssize_t size
        if PyBytes_CheckExact(data):
            size = PyBytes_GET_SIZE(data)
            if length > size:
                rules.checked_length(length, size)
            return self._feed(
                <const unsigned char*>PyBytes_AS_STRING(data), size if length < 0 else length, max_frames, max_bytes
            )
        # An export even of a bytearray: it must not be resized while it is read from here.
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if length > view.len:
                rules.checked_length(length, view.len)
            return self._feed(
                <const unsigned char*>view.buf, view.len if length < 0 else length, max_frames, max_bytes
            )
        finally:
            PyBuffer_Release(&view)

    cdef list _feed(self, const unsigned char* data, Py_ssize_t size, Py_ssize_t max_frames, Py_ssize_t max_bytes):
        cdef list items = []
        cdef Py_ssize_t used
        if self.closed or self.error is not None:
            return items
        self._produced = 0
        try:
            if self.pending:
                self._feed_after_leftover(data, size, items, max_frames, max_bytes)
            else:
                used = self._parse(data, size, items, max_frames, max_bytes)
                if used < size:
                    self._keep(data + used, size - used)
        except PeerError as error:
            self.error = error
        if self.closed or self.error is not None:
            self._end()
        self.mid_frame = self._is_open or self.pending > 0
        return items

    cdef int _feed_after_leftover(
        self, const unsigned char* data, Py_ssize_t size, list items, Py_ssize_t max_frames, Py_ssize_t max_bytes
    ) except -1:
        cdef unsigned char header[LONGEST_HEADER]
        cdef Py_ssize_t held = self.pending, lent, used
        if 0 < size and held < LONGEST_HEADER and max_frames != 0 and max_bytes != 0:
            # Most leftovers are a header that was cut. A few bytes complete it; copying all of ``data`` behind it for
            # their sake would cost more than parsing.
            lent = min(size, LONGEST_HEADER - held)
            memcpy(header, self._leftover + self._parsed, held)
            memcpy(header + held, data, lent)
            used = self._read_header(header, held + lent)
            if used > held:
                used -= held
                self._drop(held)
                used += self._receive(data + used, size - used, items)
                if not self.closed:
                    used += self._parse(data + used, size - used, items, max_frames, max_bytes)
                if used < size:
                    self._keep(data + used, size - used)
                return 0
        if size:
            self._keep(data, size)
        used = self._parse(self._leftover + self._parsed, self.pending, items, max_frames, max_bytes)
        self._drop(used)
        return 0

    cdef Py_ssize_t _parse(
        self, const unsigned char* data, Py_ssize_t size, list items, Py_ssize_t max_frames, Py_ssize_t max_bytes
    ) except -1:
        """Parse from ``data`` what is allowed; returns how many bytes of it are done with."""
        cdef Py_ssize_t position = 0, header, whole
        if self._is_open:
            position = self._continue(data, size, items)
        while (
            position < size
            and not self.closed
            and (max_frames < 0 or len(items) < max_frames)
            and (max_bytes < 0 or self._produced < max_bytes)
        ):
            whole = self._take_whole(data + position, size - position, items)
            if whole:
                position += whole
                continue
            header = self._read_header(data + position, size - position)
            if header == 0:
                break
            position += header
            position += self._receive(data + position, size - position, items)
        return position

    cdef Py_ssize_t _take_whole(self, const unsigned char* data, Py_ssize_t size, list items) except -1:
        """Take a message that is here in one frame, below 64 KiB, with nothing wrong about it, which is most of what
        comes, in two thirds of the time. Returns its size with the header, 0 for whatever else is there."""
        cdef int head = data[0]
        cdef Py_ssize_t length, start = 2
        cdef long long key = -1
        cdef uint32_t mask
        cdef bytes payload
        if (head != (FIN | TEXT) and head != (FIN | BINARY)) or self._message != CONTINUATION or size < 2:
            return 0
        length = data[1] ^ (MASKED if self._masked > 0 else 0)
        if length >= LENGTH_16:
            if length > LENGTH_16 or size < 4:
                return 0
            length = (data[2] << 8) | data[3]
            start = 4
            if length < LENGTH_16:
                return 0
        if self._masked:
            start += 4
        if self._masked < 0 or start + length > size or length > self._limit:
            return 0
        payload = <bytes>PyBytes_FromStringAndSize(NULL, length)
        if self._masked:
            memcpy(&mask, data + start - 4, 4)
            key = (
                (<long long>data[start - 4] << 24) | (data[start - 3] << 16) | (data[start - 2] << 8) | data[start - 1]
            )
            rawws_mask_copy(<unsigned char*>PyBytes_AS_STRING(payload), data + start, length, mask)
        else:
            memcpy(PyBytes_AS_STRING(payload), data + start, length)
        items.append(make_frame(head, head & OPCODE, payload, key))
        self._produced += length
        return start + length

    cpdef object target(self):
        """Where the next bytes should be written when more than 16 KiB of a payload are missing, else None.

        The view is for one write: drop it before ``advance``, which says how much of it was written.
        """
        cdef _Window window
        if not self._is_open or self._announced is not None or self._length - self._received <= LARGE:
            return None
        if self._room - self._received < LARGE:
            self._make_room(<Py_ssize_t>self._received + <Py_ssize_t>LARGE)
        window = _Window.__new__(_Window)
        window._owner = <object>self._payload
        window._start = _start_of(self._payload) + self._received
        window._size = self._room - <Py_ssize_t>self._received
        return PyMemoryView_FromObject(window)

    cpdef list advance(self, Py_ssize_t count):
        """The next ``count`` bytes are in the target. Returns the frame if they complete it."""
        cdef list items = []
        if not self._is_open or self._announced is not None:
            raise RuntimeError(rules.NO_TARGET)
        if count < 0 or count > self._room - self._received:
            rules.checked_advance(count, self._room - self._received)
        if self._key >= 0:
            rawws_mask(_start_of(self._payload) + self._received, count, rawws_turned(self._mask, self._received & 3))
        self._received += count
        if self._received == self._length:
            self._deliver_open(items)
            if self.closed:
                self._end()
            self.mid_frame = False
        return items

    cdef Py_ssize_t _read_header(self, const unsigned char* data, Py_ssize_t size) except -1:
        """The size of the header at ``data``, which must be one byte at least; 0 while it is incomplete."""
        cdef int head = data[0]
        cdef Py_ssize_t position = 2
        cdef uint64_t length
        cdef bint masked
        if self.strict:
            self._check_head(head)
        if size < 2:
            return 0
        masked = (data[1] & MASKED) != 0
        length = data[1] & 0x7F
        if self.strict:
            if self._masked >= 0 and masked != self._masked:
                raise ProtocolViolation(rules.NEEDS_MASK if self._masked else rules.NEEDS_NO_MASK)
            if head & CONTROL and length > MAX_CONTROL_PAYLOAD:
                raise ProtocolViolation(rules.LONG_CONTROL)
        if length == LENGTH_16:
            if size < 4:
                return 0
            length = (<uint64_t>data[2] << 8) | data[3]
            position = 4
            if self.strict and length < LENGTH_16:
                raise ProtocolViolation(rules.NOT_MINIMAL)
        elif length == LENGTH_64:
            if size > 2 and data[2] & 0x80:
                raise ProtocolViolation(rules.NEGATIVE_LENGTH)
            if size < 10:
                return 0
            length = 0
            for position in range(2, 10):
                length = (length << 8) | data[position]
            position = 10
            if self.strict and length < 0x10000:
                raise ProtocolViolation(rules.NOT_MINIMAL)
        if <long long>length > self._limit:
            raise FrameTooBig(length, self._limit)
        if masked:
            if size < position + 4:
                return 0
            memcpy(&self._mask, data + position, 4)
            self._key = (
                (<long long>data[position] << 24) | (data[position + 1] << 16)
                | (data[position + 2] << 8) | data[position + 3]
            )
            position += 4
        else:
            self._key = -1
        self._head = head
        self._length = <long long>length
        return position

    cdef int _check_head(self, int head) except -1:
        cdef int opcode = head & OPCODE
        if opcode & CONTROL:
            if opcode > 0xA:
                raise ProtocolViolation(f"{rules.UNSUPPORTED_OPCODE}{opcode}")
            if not head & FIN:
                raise ProtocolViolation(rules.FRAGMENTED_CONTROL)
        elif opcode > 0x2:
            raise ProtocolViolation(f"{rules.UNSUPPORTED_OPCODE}{opcode}")
        elif opcode == CONTINUATION:
            if self._message == CONTINUATION:
                raise ProtocolViolation(rules.NOTHING_TO_CONTINUE)
        elif self._message != CONTINUATION:
            raise ProtocolViolation(rules.MESSAGE_NOT_FINISHED)
        return 0

    cdef Py_ssize_t _receive(self, const unsigned char* data, Py_ssize_t size, list items) except -1:
        """Begin the frame whose header was read: take its payload, or the first bytes of it. Returns how many."""
        cdef int opcode = self._head & OPCODE
        if opcode & CONTROL:
            self._kind = opcode
        else:
            self._kind = self._message if opcode == CONTINUATION else opcode
            self._message = CONTINUATION if self._head & FIN else self._kind
        if size >= self._length:
            size = <Py_ssize_t>self._length
            self._deliver(make_frame(self._head, self._kind, self._unmasked(data, size), self._key), items)
            return size
        self._received = 0
        if self._length > self._chunk_above and not opcode & CONTROL:
            self._announced = header_of(self._head, self._kind, self._length, self._key)
            items.append(FrameChunk(self._announced, self._unmasked(data, size), 0, False))
            self._produced += size
            self._received = size
            self._is_open = True
            return size
        self._room = <Py_ssize_t>min(self._length, <long long>max(2 * size, TRUSTED_LENGTH))
        self._payload = _new_bytes(self._room)
        self._is_open = True
        return self._continue(data, size, items)

    cdef Py_ssize_t _continue(self, const unsigned char* data, Py_ssize_t size, list items) except -1:
        """Take the next bytes of the open frame; returns how many."""
        cdef unsigned char* to
        cdef uint32_t mask
        cdef bint last
        if size >= self._length - self._received:
            size = <Py_ssize_t>(self._length - self._received)
        if size == 0:
            return 0
        last = self._received + size == self._length
        if self._announced is not None:
            items.append(FrameChunk(self._announced, self._unmasked(data, size), self._received, last))
            self._produced += size
            self._received += size
            if last:
                self._close_frame()
            return size
        if self._received + size > self._room:
            self._make_room(<Py_ssize_t>self._received + size)
        to = _start_of(self._payload) + self._received
        if self._key >= 0:
            rawws_mask_copy(to, data, size, rawws_turned(self._mask, self._received & 3))
        else:
            memcpy(to, data, size)
        self._received += size
        if last:
            self._deliver_open(items)
        return size

    cdef bytes _unmasked(self, const unsigned char* data, Py_ssize_t size):
        """A copy of what follows the bytes received so far."""
        if self._key < 0:
            return <bytes>PyBytes_FromStringAndSize(<const char*>data, size)
        if self._is_open:
            return masked_copy(data, size, rawws_turned(self._mask, self._received & 3))
        return masked_copy(data, size, self._mask)

    cdef int _deliver(self, Frame frame, list items) except -1:
        items.append(frame)
        self._produced += PyBytes_GET_SIZE(frame._payload)
        if self._head & OPCODE == CLOSE:
            self.closed = True
        return 0

    cdef int _deliver_open(self, list items) except -1:
        """All of the payload is there, in the object that becomes the frame's."""
        cdef bytes payload = <bytes>self._payload
        self._close_frame()
        return self._deliver(make_frame(self._head, self._kind, payload, self._key), items)

    cdef int _make_room(self, Py_ssize_t least) except -1:
        """Have room for ``least`` bytes of payload or more, but no more than the frame has."""
        cdef Py_ssize_t room = <Py_ssize_t>min(self._length, <long long>max(least, 2 * self._room))
        cdef PyObject* moved
        if room == self._room:
            return 0
        if Py_REFCNT(self._payload) == 1:
            try:
                _PyBytes_Resize(&self._payload, room)
            except MemoryError:
                self._close_frame()
                raise
        else:  # A view of it is still held somewhere.
            moved = _new_bytes(room)
            memcpy(_start_of(moved), _start_of(self._payload), self._received)
            Py_XDECREF(self._payload)
            self._payload = moved
        self._room = room
        return 0

    cdef int _keep(self, const unsigned char* data, Py_ssize_t size) except -1:
        """Put ``size`` bytes behind the leftover."""
        cdef unsigned char* moved
        cdef Py_ssize_t needed = self.pending + size
        if self._parsed:
            memmove(self._leftover, self._leftover + self._parsed, self.pending)
            self._parsed = 0
        if needed > self._leftover_room:
            moved = <unsigned char*>realloc(self._leftover, needed)
            if moved == NULL:
                raise MemoryError
            self._leftover = moved
            self._leftover_room = needed
        memcpy(self._leftover + self.pending, data, size)
        self.pending = needed
        return 0

    cdef void _drop(self, Py_ssize_t size) noexcept:
        """The first ``size`` bytes of the leftover were parsed."""
        self.pending -= size
        self._parsed += size
        if self.pending == 0:
            free(self._leftover)
            self._leftover = NULL
            self._parsed = self._leftover_room = 0

    cdef void _close_frame(self) noexcept:
        self._is_open = False
        self._announced = None
        Py_XDECREF(self._payload)
        self._payload = NULL

    cdef void _end(self) noexcept:
        """Whatever comes now is not for us."""
        self._close_frame()
        self._drop(self.pending)
