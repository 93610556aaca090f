"""What ``receive()`` and ``send()`` return, compiled: coroutines without a frame, which is most of what a coroutine
costs. ``awaitables.py`` says what they do."""

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF

from aiohttp_rawws.session.queues cimport IncomingQueue, Receiver

from asyncio import Future, Task


cdef extern from "Python.h":
    """
    /* Cython gives a value back from __next__ by raising, with a traceback that costs more than all the rest. */
    typedef PySendResult (*rawws_send_function)(PyObject *, PyObject *, PyObject **);
    static void rawws_set_slots(PyTypeObject *type, rawws_send_function send, iternextfunc next) {
        type->tp_as_async->am_send = send;
        type->tp_iternext = next;
        PyType_Modified(type);
    }
    """
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
        PYGEN_NEXT
    void rawws_set_slots(
        type type,
        PySendResult (*send)(PyObject*, PyObject*, PyObject**) except PYGEN_ERROR,
        PyObject* (*next)(PyObject*) except? NULL,
    )
    void PyErr_SetObject(PyObject* type, PyObject* value) noexcept
    PyObject* PyExc_StopIteration
    PyObject* Py_None
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1


class _NoLoop:
    """What a future asks of its loop while nobody waits for it."""

    def get_debug(self):
        return False


# What a task that is stepped in place is told to have waited for. It asks for the result and for nothing else.
cdef object WOKEN = Future(loop=_NoLoop())
WOKEN.set_result(None)


cpdef int wake(IncomingQueue queue) except -1:
    """Have the task that waits for ``queue`` go on from the next iteration of its loop."""
    if not queue.waiter.done():
        queue.waiter.set_result(None)
    return 0


cpdef int step(IncomingQueue queue) except -1:
    """Have the task that waits for ``queue`` go on here and now, as its loop would step it. The caller runs in a callback
    of the loop and is done with its own work.

    The future keeps its state and can be waited for again: making one costs more than all of this.
    """
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


@cython.final
@cython.freelist(64)
cdef class Receiving:
    """A coroutine by behaviour (``collections.abc.Coroutine``), so that a task can be made of it."""

    cdef Receiver _session
    cdef bint _iterating
    cdef bint _waiting

    def __await__(self):
        return self

    def __next__(self):
        return self.send(None)

    def send(self, value):
        cdef object outcome = self._step()
        if not self._waiting:
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
        if self._waiting:
            self._session._queue.waiter = None
            self._waiting = False

    cdef object _step(self):
        """The item, or with ``_waiting`` set what to wait for."""
        cdef Receiver session = self._session
        cdef IncomingQueue queue = session._queue
        cdef object waiter
        self._leave()
        if queue.can_take():
            return session._take()
        session._before_waiting()
        if queue.can_take():
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
        self._waiting = True
        return waiter


cdef PySendResult _send(PyObject* receiving, PyObject* value, PyObject** result) except PYGEN_ERROR:
    """``send()`` as "await" calls it (Python 3.10, 3.11): the value is returned, nothing is raised."""
    cdef Receiving self = <Receiving>receiving
    cdef object outcome
    result[0] = NULL
    outcome = self._step()
    Py_INCREF(outcome)
    result[0] = <PyObject*>outcome
    return PYGEN_NEXT if self._waiting else PYGEN_RETURN


cdef PyObject* _next(PyObject* receiving) except? NULL:
    """The same for later versions of Python, which ask for the next and take a StopIteration apart."""
    cdef PyObject* result = NULL
    cdef PySendResult status = _send(receiving, <PyObject*>None, &result)
    if status == PYGEN_RETURN:
        _stop(result)
        return NULL
    return result


cdef void _stop(PyObject* result) noexcept:
    PyErr_SetObject(PyExc_StopIteration, result)
    _drop(result)


cdef extern from "Python.h":
    void _drop "Py_DECREF" (PyObject* value) noexcept


rawws_set_slots(Receiving, _send, _next)


cpdef object receiving(Receiver session, bint iterating):
    cdef Receiving awaitable = Receiving.__new__(Receiving)
    awaitable._session = session
    awaitable._iterating = iterating
    return awaitable


@cython.final
cdef class Done:
    """A coroutine that has nothing to do, any number of times: one serves all."""

    def __await__(self):
        return self

    def __next__(self):
        raise StopIteration

    def send(self, value):
        raise StopIteration

    def throw(self, kind, value=None, traceback=None):
        raise kind if value is None else value

    def close(self):
        pass


cdef PySendResult _send_done(PyObject* done, PyObject* value, PyObject** result) except PYGEN_ERROR:
    Py_INCREF(None)
    result[0] = Py_None
    return PYGEN_RETURN


cdef PyObject* _next_done(PyObject* done) except? NULL:
    """The end, without an exception: that reads as None."""
    return NULL


rawws_set_slots(Done, _send_done, _next_done)

cdef Done _done = Done()


cpdef object done():
    return _done
