/* Memory of frames that are gone, kept for new ones: most frames live for one turn of a handler's loop. Frame is compiled
   from a .py file, for which Cython has no @freelist.

   Only Frame itself uses the list. A subclass written in C inherits the slots of Frame, and is larger; so the type is
   checked. tp_free stays as it is, because a subclass with fields for the garbage collector would get none otherwise.

   Without the GIL, and where a sanitizer should see each use of freed memory, there is no list. */

#include <Python.h>
#include <string.h>

#if defined(Py_GIL_DISABLED) || defined(__SANITIZE_ADDRESS__)
static void rawws_keep_frames(PyTypeObject *type, PyObject *frame, PyObject *payload) {
    (void)type, (void)frame, (void)payload;
}
#else
#define RAWWS_KEPT 512
static PyTypeObject *rawws_frame;
static destructor rawws_dealloc;
static Py_ssize_t rawws_payload; /* where the only reference in a frame is */
static PyObject *rawws_kept[RAWWS_KEPT];
static int rawws_count;

static PyObject *rawws_frame_alloc(PyTypeObject *type, Py_ssize_t items) {
    PyObject *frame;
    if (!rawws_count || type != rawws_frame)
        return PyType_GenericAlloc(type, items);
    frame = rawws_kept[--rawws_count];
    memset(frame, 0, (size_t)type->tp_basicsize);
    return PyObject_Init(frame, type);
}

static void rawws_frame_dealloc(PyObject *frame) {
    PyObject *payload;
    if (rawws_count == RAWWS_KEPT || Py_TYPE(frame) != rawws_frame) {
        rawws_dealloc(frame);
        return;
    }
    payload = *(PyObject **)((char *)frame + rawws_payload);
    rawws_kept[rawws_count++] = frame;
    Py_XDECREF(payload);
}

/* `frame` is an example, whose payload is `payload`. */
static void rawws_keep_frames(PyTypeObject *type, PyObject *frame, PyObject *payload) {
    Py_ssize_t at = sizeof(PyObject);
    while (*(PyObject **)((char *)frame + at) != payload)
        at += sizeof(PyObject *);
    rawws_payload = at;
    rawws_frame = type;
    rawws_dealloc = type->tp_dealloc;
    type->tp_alloc = rawws_frame_alloc;
    type->tp_dealloc = rawws_frame_dealloc;
}
#endif
