#include <Python.h>
#include <string.h>

/* Memory of frames that are gone, for those to come: a frame lives for one turn of a handler's loop. (@freelist is
   for .pyx files.) Without the GIL, and where a sanitizer is to see each use of freed memory, it is malloc's. */

#if defined(Py_GIL_DISABLED) || defined(__SANITIZE_ADDRESS__)
static void rawws_keep_frames(PyTypeObject *type) {}
#else
#define RAWWS_KEPT 512
static PyTypeObject *rawws_frame;
static PyObject *rawws_kept[RAWWS_KEPT];
static int rawws_count;

static PyObject *rawws_frame_alloc(PyTypeObject *type, Py_ssize_t items) {
    PyObject *frame;
    if (!rawws_count)
        return PyType_GenericAlloc(type, items);
    frame = rawws_kept[--rawws_count];
    memset(frame, 0, (size_t)type->tp_basicsize);
    return PyObject_Init(frame, type);
}

static void rawws_frame_free(void *frame) {
    if (rawws_count < RAWWS_KEPT && Py_TYPE((PyObject *)frame) == rawws_frame)
        rawws_kept[rawws_count++] = (PyObject *)frame;
    else
        PyObject_Free(frame);
}

static void rawws_keep_frames(PyTypeObject *type) {
    rawws_frame = type;
    type->tp_alloc = rawws_frame_alloc;  /* a subclass has those of its own */
    type->tp_free = rawws_frame_free;
}
#endif
