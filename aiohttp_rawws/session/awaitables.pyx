"""The coroutines that ``receive()`` and ``send()`` return, compiled. They have no frame, which costs most of one.

``awaitables.py`` says what they do.
"""

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF

from aiohttp_rawws.session.endpoint cimport Endpoint
from aiohttp_rawws.session.queues cimport IncomingQueue

from asyncio import Future, Task


cdef extern from "Python.h":
    """
    /* Cython gives a value back from __next__ by raising, with a traceback that costs more than all the rest. */
    typedef PySendResult (*rawws_send_function)(PyObject *, PyObject *, PyObject **);
    static void rawws_set_slots(PyTypeObject *type, rawws_send_function send, iternextfunc next, destructor dealloc) {
        type->tp_as_async->am_send = send;
        type->tp_iternext = next;
        type->tp_dealloc = dealloc;
        PyType_Modified(type);
    }

    /* An awaitable that is done and would be freed is kept for the next call instead, as it is: to allocate and track a
       new one costs more than all that it does. Not without the GIL, where a count of references is not one number. */
    #ifdef Py_GIL_DISABLED
    #define RAWWS_KEEPS 0
    static void rawws_revive(PyObject *object) {}
    #else
    #define RAWWS_KEEPS 1
    static void rawws_revive(PyObject *object) {
        Py_SET_REFCNT(object, 1);
    }
    #endif
    """
    const bint RAWWS_KEEPS
    void rawws_revive(PyObject* object) noexcept
    ctypedef void (*destructor)(PyObject*) noexcept
    ctypedef struct PyTypeObject:
        destructor tp_dealloc
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
        PYGEN_NEXT
    void rawws_set_slots(
        type type,
        PySendResult (*send)(PyObject*, PyObject*, PyObject**) except PYGEN_ERROR,
        PyObject* (*next)(PyObject*) except? NULL,
        destructor dealloc,
    )
    void PyErr_SetObject(PyObject* type, PyObject* value) noexcept
    PyObject* PyExc_StopIteration
    PyObject* Py_None
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1
    PyObject* PyExc_RuntimeWarning
    int PyErr_WarnEx(PyObject* category, const char* text, Py_ssize_t stack_level) noexcept
    void PyErr_WriteUnraisable(PyObject* where) noexcept
    void PyErr_Fetch(PyObject** type, PyObject** value, PyObject** traceback) noexcept
    void PyErr_Restore(PyObject* type, PyObject* value, PyObject* traceback) noexcept


class _NoLoop:
    """The part of a loop that a future without one asks for."""

    def get_debug(self):
        return False


# Passed to a task that is stepped in place, as the future it has waited for. It only asks for the result.
cdef object WOKEN = Future(loop=_NoLoop())
WOKEN.set_result(None)


cpdef int wake(IncomingQueue queue) except -1:
    """Let the task that waits for ``queue`` go on in the next iteration of its loop."""
    if not queue.waiter.done():
        queue.waiter.set_result(None)
    return 0


cpdef int step(IncomingQueue queue) except -1:
    """Let the task that waits for ``queue`` go on now, as its loop would step it. See ``awaitables.py``."""
    cdef object waiter = queue.waiter
    cdef list callbacks = waiter._callbacks
    if callbacks is None or len(callbacks) != 1:
        return wake(queue)
    callback, context = <tuple>callbacks[0]
    if type(getattr(callback, "__self__", None)) is not Task:  # somebody drives a coroutine without a task
        return wake(queue)
    try:
        PyContext_Enter(context)
    except RuntimeError:  # it is entered further up
        return wake(queue)
    waiter.remove_done_callback(callback)
    queue.idle_waiter = waiter
    try:
        callback(WOKEN)
    except RuntimeError:  # another task is being stepped further up
        queue.idle_waiter = None
        waiter.add_done_callback(callback, context=context)
        wake(queue)
    finally:
        PyContext_Exit(context)
    return 0


class _Wait:
    """Awaits a future, also if it is never done: a plain "await" raises an error then."""

    def __init__(self, waiter):
        self._waiter = waiter

    def __await__(self):
        self._waiter._asyncio_future_blocking = True
        yield self._waiter


async def until_woken(IncomingQueue queue, loop):
    """Wait until ``wake(queue)`` or ``step(queue)`` is called. See ``awaitables.py``."""
    waiter = queue.idle_waiter
    if waiter is None:
        waiter = loop.create_future()
    else:
        queue.idle_waiter = None
    queue.waiter = waiter
    try:
        await _Wait(waiter)
    finally:
        if queue.waiter is waiter:  # else its stream was left, and somebody else waits
            queue.waiter = None


cdef enum State:
    NEW
    WAITING
    DONE


cdef void warn_unawaited(const char* text) noexcept:
    """Warn as Python does of a coroutine that goes away unused. Called while an object goes, whatever is being raised."""
    cdef PyObject* kind
    cdef PyObject* value
    cdef PyObject* traceback
    PyErr_Fetch(&kind, &value, &traceback)
    if PyErr_WarnEx(PyExc_RuntimeWarning, text, 1) < 0:
        PyErr_WriteUnraisable(NULL)
    PyErr_Restore(kind, value, traceback)


cdef object already_awaited(const char* name):
    return RuntimeError(f"cannot await the same {name.decode()}() twice")


@cython.final
@cython.freelist(64)
cdef class Receiving:
    """A coroutine by behaviour (``collections.abc.Coroutine``), so that a task can be made of it."""

    cdef Endpoint _session
    cdef bint _iterating
    cdef State _state

    def __await__(self):
        if self._state != NEW:
            raise already_awaited("receive")
        return self

    def __next__(self):
        return self.send(None)

    def send(self, value):
        cdef object outcome = self._step()
        if self._state == DONE:
            raise StopIteration(outcome)
        return outcome

    def throw(self, kind, value=None, traceback=None):
        self._leave()
        if value is None:
            value = kind() if isinstance(kind, type) else kind
        raise value if traceback is None else value.with_traceback(traceback)

    def close(self):
        self._leave()

    cdef void _leave(self) noexcept:
        if self._state == WAITING:
            self._session._queue.waiter = None
        self._state = DONE

    cdef object _step(self):
        """The item; or, with the state WAITING, what to wait for."""
        cdef Endpoint session = self._session
        cdef IncomingQueue queue = session._queue
        cdef object waiter
        if self._state == DONE:
            raise already_awaited("receive")
        self._leave()
        if queue.can_take():
            item = queue.take()
            if queue.full or queue.ending:
                session._on_taken()
            self._session = None
            return item
        session._before_waiting()
        if queue.can_take():
            self._session = None
            return session._take()
        if session._is_over():
            session._raise_end(self._iterating)
        waiter = queue.idle_waiter
        if waiter is None:
            waiter = session._loop.create_future()
        else:
            queue.idle_waiter = None
        waiter._asyncio_future_blocking = True
        queue.waiter = waiter
        self._state = WAITING
        return waiter


cdef PySendResult receiving_send(PyObject* receiving, PyObject* value, PyObject** result) except PYGEN_ERROR:
    """``send()`` as "await" calls it (Python 3.10, 3.11): the value is returned, nothing is raised."""
    cdef Receiving self = <Receiving>receiving
    cdef object outcome
    result[0] = NULL
    outcome = self._step()
    Py_INCREF(outcome)
    result[0] = <PyObject*>outcome
    return PYGEN_NEXT if self._state == WAITING else PYGEN_RETURN


cdef PyObject* receiving_next(PyObject* receiving) except? NULL:
    """The same for later versions of Python, which ask for the next and take a StopIteration apart."""
    cdef PyObject* result = NULL
    cdef PySendResult status = receiving_send(receiving, <PyObject*>None, &result)
    if status == PYGEN_RETURN:
        stop(result)
        return NULL
    return result


cdef void stop(PyObject* result) noexcept:
    PyErr_SetObject(PyExc_StopIteration, result)
    drop(result)


cdef extern from "Python.h":
    void drop "Py_DECREF" (PyObject* value) noexcept


# Not __dealloc__(), around which Cython saves the exception that is being raised: that is needed for the warning only.
cdef destructor free_receiving = (<PyTypeObject*>Receiving).tp_dealloc


cdef PyObject* kept_receiving = NULL


cdef void receiving_dealloc(PyObject* receiving) noexcept:
    global kept_receiving
    if (<Receiving>receiving)._state == NEW:
        warn_unawaited("coroutine 'receive' was never awaited")
    elif (<Receiving>receiving)._state == WAITING:  # nobody will go on with it
        (<Receiving>receiving)._session._queue.waiter = None
    elif RAWWS_KEEPS and kept_receiving == NULL and (<Receiving>receiving)._session is None:
        rawws_revive(receiving)
        kept_receiving = receiving
        return
    free_receiving(receiving)


rawws_set_slots(Receiving, receiving_send, receiving_next, receiving_dealloc)


cpdef object receiving(Endpoint session, bint iterating):
    global kept_receiving
    cdef Receiving awaitable
    if kept_receiving != NULL:
        awaitable = <Receiving>kept_receiving
        kept_receiving = NULL
        Py_DECREF(awaitable)  # the reference that was kept
        awaitable._state = NEW
    else:
        awaitable = Receiving.__new__(Receiving)
    awaitable._session = session
    awaitable._iterating = iterating
    return awaitable


@cython.final
@cython.freelist(64)
cdef class Sending:
    """Behaves as a coroutine, and sends when it is stepped. If it must wait, a real coroutine goes on with it."""

    cdef Endpoint _session
    cdef object _item
    cdef object _compress
    cdef object _rest
    cdef State _state

    def __await__(self):
        if self._state != NEW:
            raise already_awaited("send")
        return self

    def __next__(self):
        return self.send(None)

    def send(self, value):
        cdef object outcome = self._step()
        if self._state == DONE:
            raise StopIteration(outcome)
        return outcome

    def throw(self, kind, value=None, traceback=None):
        if self._state == WAITING:
            return self._rest.throw(kind, value, traceback) if traceback is not None else (
                self._rest.throw(kind if value is None else value)
            )
        self._state = DONE
        if value is None:
            value = kind() if isinstance(kind, type) else kind
        raise value if traceback is None else value.with_traceback(traceback)

    def close(self):
        if self._state == WAITING:
            self._rest.close()
        self._state = DONE

    cdef object _step(self):
        """None with the state DONE; or, with the state WAITING, what to wait for."""
        if self._state == NEW:
            self._state = DONE
            self._rest = self._session.start_sending(self._item, self._compress)
            if self._rest is None:
                self._item = None
                self._session = None
                return None
        elif self._state == DONE:
            raise already_awaited("send")
        self._state = DONE
        try:
            outcome = self._rest.send(None)
        except StopIteration:
            return None
        self._state = WAITING
        return outcome


cdef PySendResult sending_send(PyObject* sending, PyObject* value, PyObject** result) except PYGEN_ERROR:
    cdef Sending self = <Sending>sending
    cdef object outcome
    result[0] = NULL
    outcome = self._step()
    Py_INCREF(outcome)
    result[0] = <PyObject*>outcome
    return PYGEN_NEXT if self._state == WAITING else PYGEN_RETURN


cdef PyObject* sending_next(PyObject* sending) except? NULL:
    cdef Sending self = <Sending>sending
    cdef object outcome = self._step()
    if self._state != WAITING:
        return NULL  # the end without an exception: that reads as None
    Py_INCREF(outcome)
    return <PyObject*>outcome


cdef destructor free_sending = (<PyTypeObject*>Sending).tp_dealloc


cdef PyObject* kept_sending = NULL


cdef void sending_dealloc(PyObject* sending) noexcept:
    global kept_sending
    if (<Sending>sending)._state == NEW:
        warn_unawaited("coroutine 'send' was never awaited")
    elif RAWWS_KEEPS and kept_sending == NULL and (<Sending>sending)._session is None:
        rawws_revive(sending)
        kept_sending = sending
        return
    free_sending(sending)


rawws_set_slots(Sending, sending_send, sending_next, sending_dealloc)


cpdef object sending(Endpoint session, item, compress):
    global kept_sending
    cdef Sending awaitable
    if kept_sending != NULL:
        awaitable = <Sending>kept_sending
        kept_sending = NULL
        Py_DECREF(awaitable)  # the reference that was kept
        awaitable._state = NEW
    else:
        awaitable = Sending.__new__(Sending)
    awaitable._session = session
    awaitable._item = item
    awaitable._compress = compress
    return awaitable
