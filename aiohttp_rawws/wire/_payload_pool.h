/* Memory of large payloads, kept for the next ones. Given back to the system, it comes again page by page: a fault for
   every 4 KiB, which costs more than to copy the payload.

   The pool keeps references. A payload to which it has the only one belongs to nobody else, and is used again: the hash
   and the size are set anew, as if it had just been made. That needs exact reference counts, so there is no pool without
   the GIL. All functions run with it. */

#include <Python.h>

#define RAWWS_POOL_SMALLEST (32 * 1024)      /* smaller ones stay in the heap */
#define RAWWS_POOL_LARGEST (4 * 1024 * 1024) /* larger ones are rare */
#define RAWWS_POOL_BYTES (16 * 1024 * 1024)  /* of all together */
#define RAWWS_POOL_COUNT 32

#ifdef Py_GIL_DISABLED
static PyObject *rawws_new_payload(Py_ssize_t size) { return PyBytes_FromStringAndSize(NULL, size); }
static PyObject *rawws_kept_payload(Py_ssize_t size) { (void)size; return NULL; }
static void rawws_keep_payload(PyObject *payload) { (void)payload; }
static Py_ssize_t rawws_pooled_bytes(void) { return 0; }
#else
static PyObject *rawws_pool[RAWWS_POOL_COUNT];
static Py_ssize_t rawws_pool_room[RAWWS_POOL_COUNT]; /* bytes that each has room for, whatever its size is now */
static Py_ssize_t rawws_pool_bytes;
static int rawws_pool_count, rawws_pool_next;

static void rawws_forget_payload(int at) {
    PyObject *payload = rawws_pool[at];
    rawws_pool_bytes -= rawws_pool_room[at];
    --rawws_pool_count;
    rawws_pool[at] = rawws_pool[rawws_pool_count];
    rawws_pool_room[at] = rawws_pool_room[rawws_pool_count];
    Py_DECREF(payload);
}

/* A new reference to `size` bytes of undefined content that nobody else has; NULL without an error if there are none. */
static PyObject *rawws_kept_payload(Py_ssize_t size) {
    int at;
    for (at = 0; at < rawws_pool_count; ++at) {
        PyBytesObject *payload = (PyBytesObject *)rawws_pool[at];
        if (Py_REFCNT(payload) == 1 && rawws_pool_room[at] >= size && rawws_pool_room[at] / 2 <= size) {
            Py_SET_SIZE(payload, size);
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#endif
            payload->ob_shash = -1;
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
            payload->ob_sval[size] = 0;
            Py_INCREF(payload);
            return (PyObject *)payload;
        }
    }
    return NULL;
}

/* Keep `payload`, which was made just now. If there are too many, those that were kept longest go. */
static void rawws_keep_payload(PyObject *payload) {
    Py_ssize_t room = PyBytes_GET_SIZE(payload);
    if (room < RAWWS_POOL_SMALLEST || room > RAWWS_POOL_LARGEST)
        return;
    while (rawws_pool_count == RAWWS_POOL_COUNT || rawws_pool_bytes + room > RAWWS_POOL_BYTES) {
        if (rawws_pool_next >= rawws_pool_count)
            rawws_pool_next = 0;
        rawws_forget_payload(rawws_pool_next++);
    }
    Py_INCREF(payload);
    rawws_pool[rawws_pool_count] = payload;
    rawws_pool_room[rawws_pool_count++] = room;
    rawws_pool_bytes += room;
}

/* A new reference to `size` bytes of undefined content that nobody else has. */
static PyObject *rawws_new_payload(Py_ssize_t size) {
    PyObject *payload;
    if (size < RAWWS_POOL_SMALLEST || size > RAWWS_POOL_LARGEST)
        return PyBytes_FromStringAndSize(NULL, size);
    payload = rawws_kept_payload(size);
    if (payload == NULL) {
        payload = PyBytes_FromStringAndSize(NULL, size);
        if (payload != NULL)
            rawws_keep_payload(payload);
    }
    return payload;
}

static Py_ssize_t rawws_pooled_bytes(void) { return rawws_pool_bytes; }
#endif
