"""The compiled parser: ``parser.py`` with pointers. It has no behaviour of its own."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove

from aiohttp_rawws.wire.frames cimport Frame, make_frame
from aiohttp_rawws.wire.header_reader cimport Header, read_header, set_key
from aiohttp_rawws.wire.masking cimport rawws_mask_copy
from aiohttp_rawws.wire.open_frame cimport OpenFrame, open_frame
from aiohttp_rawws.wire.payload_pool cimport new_payload

from ..errors import PeerError
from . import _shared as shared
from . import header_bits as bits
from .strictness import VALUES, checked_strictness

__all__ = ["FrameParser"]

cdef extern from "_frame_pool.h":
    void rawws_keep_frames(type type, frame, payload)

cdef int _keep_frames() except -1:
    cdef Frame example = make_frame(0, 0, b"example", 0)
    rawws_keep_frames(Frame, example, example._payload)
    return 0

_keep_frames()

cdef int CONTINUATION = bits.CONTINUATION
cdef int TEXT = bits.TEXT
cdef int BINARY = bits.BINARY
cdef int CLOSE = bits.CLOSE
cdef int CONTROL = bits.CONTROL
cdef int OPCODE = bits.OPCODE
cdef int FIN = bits.FIN
cdef int MASKED = bits.MASKED
cdef int LENGTH_16 = bits.LENGTH_16
cdef long long NO_LIMIT = shared.NO_LIMIT

cdef enum:
    LONGEST_HEADER = 14
    POOLED = 32 * 1024


@cython.final
cdef class FrameParser:
    """Turns the bytes of one direction of a connection into frames, whatever way they are cut.

    An error of the peer is not raised, so that the frames before it are not lost: it is kept in ``error``. After an
    error, or after a Close frame (section 5.5.1), the parser ignores all further bytes.

    The four options can be set at any time, and hold from the next header on. One caller at a time.

    Attributes:
        masked: The option.
        strict: The option.
        max_frame_size: The option.
        chunk_above: The option.
        error: The PeerError that ended the stream, None if there is none.
        closed: A Close frame was delivered.
        pending: Bytes held that were not parsed, because a limit stopped ``feed()`` or a header is not complete.
        mid_frame: Bytes are held of a frame that was not delivered. The stream must not end here.
    """

    def __cinit__(self):
        self.closed = True  # until __init__ has run: see `_feed`

    def __init__(self, *, masked=True, strict=True, max_frame_size=None, chunk_above=None):
        """
        Args:
            masked: True if the peer must mask its frames (it is a client), False if it must not, None to accept both.
                Default: True.
            strict: Refuse what RFC 6455 refuses. "hop": refuse wrong masks, lengths that are not in the shortest form,
                and control frames of more than 125 bytes. If False, deliver what can be delivered. Default: True.
            max_frame_size: Bytes of payload that a frame may have. Default: None (any number).
            chunk_above: A data frame of more bytes than this that does not come at once is delivered in pieces, as
                FrameChunks. Default: None (no frame is).

        Raises:
            ValueError: A number of bytes is negative.
            TypeError: ``strict`` is something else.
        """
        self.masked = masked
        self.strict = strict
        self.max_frame_size = max_frame_size
        self.chunk_above = chunk_above
        self.closed = False
        self._is_made = True

    def __dealloc__(self):
        free(self._leftover)

    @property
    def masked(self):
        return None if self._masked < 0 else self._masked == 1

    @masked.setter
    def masked(self, value):
        self._masked = -1 if value is None else 1 if value else 0

    @property
    def strict(self):
        return VALUES[self._strict]

    @strict.setter
    def strict(self, value):
        self._strict = checked_strictness(value)

    @property
    def max_frame_size(self):
        return None if self._limit == NO_LIMIT else self._limit

    @max_frame_size.setter
    def max_frame_size(self, value):
        self._limit = shared.checked_limit("max_frame_size", value)

    @property
    def chunk_above(self):
        return None if self._chunk_above == NO_LIMIT else self._chunk_above

    @chunk_above.setter
    def chunk_above(self, value):
        self._chunk_above = shared.checked_limit("chunk_above", value)

    def held(self):
        """Return the ``pending`` bytes, and the number of bytes that are missing of a frame whose payload has begun."""
        cdef long long missing = 0
        if self._open is not None:
            missing = self._open._header.length - self._open.received
        if not self.pending:
            return b"", missing
        return PyBytes_FromStringAndSize(<const char*>self._leftover + self._parsed, self.pending), missing

    cpdef list feed(self, data, Py_ssize_t length=-1, Py_ssize_t max_frames=-1, Py_ssize_t max_bytes=-1):
        """Parse the next bytes.

        Args:
            data: Any contiguous buffer. It is not kept.
            length: Bytes of ``data`` that count. Default: all.
            max_frames: Begin no other frame once so many items were produced. Default: no limit.
            max_bytes: Begin no other frame once so many bytes of payload were produced. Default: no limit.

        A frame that is partly there is continued in any case, and counts. Bytes that were not parsed are held for the
        next call, which may be ``feed(b"")``.

        Returns:
            The frames, and pieces of frames, that are complete, in order.
        """
        cdef Py_buffer view
        cdef Py_ssize_t size
        if PyBytes_CheckExact(data):
            size = PyBytes_GET_SIZE(data)
            if length > size:
                shared.checked_length(length, size)
            return self._feed(
                <const unsigned char*>PyBytes_AS_STRING(data), size if length < 0 else length, max_frames, max_bytes
            )
        # An export even of a bytearray: it must not be resized while it is read from here.
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if length > view.len:
                shared.checked_length(length, view.len)
            return self._feed(
                <const unsigned char*>view.buf, view.len if length < 0 else length, max_frames, max_bytes
            )
        finally:
            PyBuffer_Release(&view)

    cdef list _feed(self, const unsigned char* data, Py_ssize_t size, Py_ssize_t max_frames, Py_ssize_t max_bytes):
        cdef list items = []
        cdef Py_ssize_t used
        if self.closed or self.error is not None:
            if not self._is_made:
                raise shared.not_made(self)
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
        self.mid_frame = self._open is not None or self.pending > 0
        return items

    cdef int _feed_after_leftover(
        self, const unsigned char* data, Py_ssize_t size, list items, Py_ssize_t max_frames, Py_ssize_t max_bytes
    ) except -1:
        cdef unsigned char joined[LONGEST_HEADER]
        cdef Header header
        cdef Py_ssize_t held = self.pending, lent, used
        if 0 < size and held < LONGEST_HEADER and max_frames != 0 and max_bytes != 0:
            # Most leftovers are a header that was cut. A few bytes complete it; copying all of ``data`` behind it for
            # their sake would cost more than parsing.
            lent = min(size, LONGEST_HEADER - held)
            memcpy(joined, self._leftover + self._parsed, held)
            memcpy(joined + held, data, lent)
            used = read_header(
                &header, joined, held + lent, self._strict, self._masked, self._limit, self._message
            )
            if used > held:
                used -= held
                self._drop(held)
                used += self._begin(&header, data + used, size - used, items)
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
        """Parse ``data`` as far as is allowed. Returns how many bytes of it are done with."""
        cdef Header header
        cdef Py_ssize_t position = 0, used
        if self._open is not None:
            position = self._continue(data, size, items)
        while (
            position < size
            and not self.closed
            and (max_frames < 0 or len(items) < max_frames)
            and (max_bytes < 0 or self._produced < max_bytes)
        ):
            used = self._take_whole(data + position, size - position, items)
            if used:
                position += used
                continue
            used = read_header(
                &header, data + position, size - position, self._strict, self._masked, self._limit, self._message
            )
            if used == 0:
                break
            position += used
            position += self._begin(&header, data + position, size - position, items)
        return position

    cdef Py_ssize_t _take_whole(self, const unsigned char* data, Py_ssize_t size, list items) except -1:
        """Take a message that is here in one frame, below 64 KiB, with nothing wrong about it. Most frames are such,
        and this takes two thirds of the time. Returns its size with the header, 0 for whatever else is there."""
        cdef int head = data[0]
        cdef Py_ssize_t length, start = 2
        cdef Header header
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
        payload = <bytes>(new_payload(length) if length >= POOLED else PyBytes_FromStringAndSize(NULL, length))
        if self._masked:
            set_key(&header, data + start - 4)
            rawws_mask_copy(<unsigned char*>PyBytes_AS_STRING(payload), data + start, length, header.mask)
        else:
            header.key = -1
            memcpy(PyBytes_AS_STRING(payload), data + start, length)
        items.append(make_frame(head, head & OPCODE, payload, header.key))
        self._produced += length
        return start + length

    cpdef object target(self):
        """Return where the next bytes should be written, if more than 16 KiB of a payload are missing.

        The view is for one write. Drop it before ``advance()``.

        Returns:
            A writable view, or None: pass the next bytes to ``feed()``.
        """
        if self._open is None:
            if not self._is_made:
                raise shared.not_made(self)
            return None
        try:
            return self._open.target()
        except MemoryError:
            self._open = None
            raise

    cpdef list advance(self, Py_ssize_t count):
        """Take the next ``count`` bytes from the target.

        Returns:
            The frame, if they complete it.

        Raises:
            RuntimeError: There is no target.
            ValueError: The target is smaller.
        """
        cdef list items = []
        if self._open is None or self._open.announced is not None:
            if not self._is_made:
                raise shared.not_made(self)
            raise RuntimeError(shared.NO_TARGET)
        self._open.advance(count)
        if self._open.missing() == 0:
            self._deliver(self._open.frame(), items)
            if self.closed:
                self._end()
            self.mid_frame = False
        return items

    cpdef tuple detach(self):
        """Give away the bytes that are held, and the state to go on from there. The parser is at a start then.

        A length that was not in its shortest form has it now.

        Returns:
            The kind of the message that is open, CONTINUATION if none is. The bytes of payload that the data frame
            misses which has begun, 0 if none has. The bytes of that frame which were held. The bytes of later frames.
        """
        cdef long long missing = 0
        cdef int message = self._message
        cdef bytes begun = b""
        cdef bytes later = PyBytes_FromStringAndSize(<const char*>self._leftover + self._parsed, self.pending)
        if self._open is not None and self._open.is_control():
            later = self._open.wire()
        elif self._open is not None:
            missing, begun = self._open.missing(), self._open.wire()
        self._message = CONTINUATION
        self._end()
        self.mid_frame = False
        return message, missing, begun, later

    cpdef object split(self):
        """Deliver the frame that is arriving in pieces, whatever ``chunk_above`` was when its header came.

        Returns:
            The part of it that has arrived, as the first chunk. None if no data frame is arriving, or if it comes in
            chunks anyway.
        """
        if self._open is None:
            if not self._is_made:
                raise shared.not_made(self)
            return None
        if self._open.announced is not None or self._open._header.head & CONTROL:
            return None
        return self._open.split()

    cdef Py_ssize_t _begin(self, Header* header, const unsigned char* data, Py_ssize_t size, list items) except -1:
        """Begin a frame with the first bytes of its payload, perhaps all of them. Returns how many."""
        cdef int opcode = header.head & OPCODE, kind = opcode
        cdef bint in_chunks
        cdef bytes payload
        if not opcode & CONTROL:  # section 5.4
            if opcode == CONTINUATION:
                kind = self._message
            self._message = CONTINUATION if header.head & FIN else kind
        if size >= header.length:
            size = <Py_ssize_t>header.length
            payload = <bytes>new_payload(size)
            if header.key < 0:
                memcpy(PyBytes_AS_STRING(payload), data, size)
            else:
                rawws_mask_copy(<unsigned char*>PyBytes_AS_STRING(payload), data, size, header.mask)
            self._deliver(make_frame(header.head, kind, payload, header.key), items)
            return size
        in_chunks = header.length > self._chunk_above and not opcode & CONTROL
        self._open = open_frame(header, kind, size, in_chunks)
        if in_chunks:
            items.append(self._open.chunk(data, size))
            self._produced += size
        else:
            self._open.write(data, size)
        return size

    cdef Py_ssize_t _continue(self, const unsigned char* data, Py_ssize_t size, list items) except -1:
        """Take the next bytes of the open frame. Returns how many."""
        if size > self._open.missing():
            size = <Py_ssize_t>self._open.missing()
        if size == 0:
            return 0
        if self._open.announced is None:
            try:
                self._open.write(data, size)
            except MemoryError:
                self._open = None
                raise
            if self._open.missing() == 0:
                self._deliver(self._open.frame(), items)
        else:
            items.append(self._open.chunk(data, size))
            self._produced += size
            if self._open.missing() == 0:
                self._open = None
        return size

    cdef int _deliver(self, Frame frame, list items) except -1:
        self._open = None
        self.closed = (frame._head & OPCODE) == CLOSE
        self._produced += PyBytes_GET_SIZE(frame._payload)
        items.append(frame)
        return 0

    cdef int _keep(self, const unsigned char* data, Py_ssize_t size) except -1:
        """Put ``size`` bytes behind the leftover. It moves only if that halves it or if there is no room; then it gets
        room for half as much again. So time and memory stay linear however small the pieces are."""
        cdef unsigned char* moved
        cdef Py_ssize_t needed = self.pending + size
        if self._parsed + needed > self._leftover_room or self._parsed > self.pending:
            if self._parsed:
                memmove(self._leftover, self._leftover + self._parsed, self.pending)
                self._parsed = 0
            if self._leftover != NULL:
                needed += needed // 2
            if needed > self._leftover_room:
                moved = <unsigned char*>realloc(self._leftover, needed)
                if moved == NULL:
                    raise MemoryError
                self._leftover = moved
                self._leftover_room = needed
        memcpy(self._leftover + self._parsed + self.pending, data, size)
        self.pending += size
        return 0

    cdef void _drop(self, Py_ssize_t size) noexcept:
        """The first ``size`` bytes of the leftover were parsed."""
        self.pending -= size
        self._parsed += size
        if self.pending == 0:
            free(self._leftover)
            self._leftover = NULL
            self._parsed = self._leftover_room = 0

    cdef void _end(self) noexcept:
        """Ignore what was not parsed, and what still comes."""
        self._open = None
        self._drop(self.pending)
