"""What ``receive()`` and ``send()`` return, compiled: coroutines without a frame, which is most of what a coroutine
costs. ``_awaitables_py.py`` says what they do."""

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF

from aiohttp_rawws.session._connection_c cimport ConnectionCore


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
        PySendResult (*send)(PyObject*, PyObject*, PyObject**) noexcept,
        PyObject* (*next)(PyObject*) noexcept,
    )
    void PyErr_SetObject(PyObject* type, PyObject* value) noexcept
    PyObject* PyExc_StopIteration


@cython.final
@cython.freelist(16)
cdef class Receiving:
    """A coroutine by behaviour (``collections.abc.Coroutine``), so that a task can be made of it."""

    cdef object _session
    cdef ConnectionCore _connection
    cdef bint _iterating
    cdef object _waiting

    def __await__(self):
        return self

    def __next__(self):
        return self.send(None)

    def send(self, value):
        if self._waiting is None:
            if self._connection.can_take():
                raise StopIteration(self._connection.take())
            self._waiting = self._session._wait_and_take(self._iterating)
        return self._waiting.send(value)

    def throw(self, *exception):
        if self._waiting is None:
            self._waiting = self._session._wait_and_take(self._iterating)
        return self._waiting.throw(*exception)

    def close(self):
        if self._waiting is not None:
            self._waiting.close()


cdef PySendResult _send(PyObject* receiving, PyObject* value, PyObject** result) noexcept:
    """``send()`` as "await" calls it (Python 3.10, 3.11): the value is returned, nothing is raised."""
    cdef Receiving self = <Receiving>receiving
    cdef object outcome, kind
    result[0] = NULL
    try:
        if self._waiting is None and self._connection.can_take():
            outcome = self._connection.take()
            Py_INCREF(outcome)
            result[0] = <PyObject*>outcome
            return PYGEN_RETURN
        outcome = self.send(<object>value)
    except StopIteration as stop:
        outcome = stop.value
        Py_INCREF(outcome)
        result[0] = <PyObject*>outcome
        return PYGEN_RETURN
    except BaseException as error:
        kind = type(error)
        PyErr_SetObject(<PyObject*>kind, <PyObject*>error)
        return PYGEN_ERROR
    Py_INCREF(outcome)
    result[0] = <PyObject*>outcome
    return PYGEN_NEXT


cdef PyObject* _next(PyObject* receiving) noexcept:
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


cpdef object receiving(session, ConnectionCore connection, bint iterating):
    cdef Receiving awaitable = Receiving.__new__(Receiving)
    awaitable._session = session
    awaitable._connection = connection
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


cdef Done _done = Done()


cpdef object done():
    return _done
