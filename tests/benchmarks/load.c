/* The load generator: WebSocket connections in one thread, on one epoll, and what they measure as JSON.
 *
 *   load echo      N connections keep D frames in flight each and check every echo, byte by byte
 *   load tcp       the same bytes over plain TCP, without a handshake: the ceiling of an event loop
 *   load broadcast connection 0 sends a frame, all N wait for it; again when the last of them has it
 *   load idle      opens connections in steps, one echo each, and reads the server's resident memory at each step
 *
 * It is a closed loop: nothing is sent before the replies to what was sent before are here. In "batch" windows (the
 * default) the next D frames leave together when all D replies have come; in "slide" windows each reply is followed by
 * a frame at once. Figures are of the time after a warm-up, when every connection has had its first replies; the server's
 * CPU time is read at both ends of it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum mode { ECHO, TCP, BROADCAST, IDLE };
enum { MAX_STEPS = 32, READ_SIZE = 1 << 20, FINE = 6, BUCKETS = 60 << FINE, STALLED_SECONDS = 30 };
static const unsigned char MASK[4] = {0x9c, 0x15, 0xe3, 0x6a};

struct connection {
    int fd;
    bool wants_out;     /* registered for EPOLLOUT */
    size_t out_at;      /* where in the frame the next byte to write is */
    size_t out_left;    /* bytes that may be written now */
    size_t in_at;       /* where in the reply the next byte to read is */
    unsigned in_flight; /* replies that are still to come */
    unsigned first;     /* index of the oldest of them in `sent` */
    uint64_t *sent;     /* when each frame in flight was given to the kernel, a ring of `depth` */
};

static struct {
    enum mode mode;
    int port, pid, cpu;
    int connections, depth;
    double seconds, warm_up;
    size_t size;
    bool text, slide;
    const char *host, *path, *payload, *extension, *learn;
    int steps[MAX_STEPS], n_steps;
} options = {.pid = 0, .cpu = -1, .connections = 16, .depth = 1, .seconds = 1, .warm_up = -1, .size = 256,
             .host = "127.0.0.1", .path = "/"};

static unsigned char *frames, *replies;  /* depth + 1 copies of each, so that any run of `depth` is contiguous */
static size_t frame_size, reply_size;
static int poller;
static struct connection *all;
static uint64_t completed, histogram[BUCKETS];
static bool counting;

static void fail(const char *text, ...) {
    va_list arguments;
    va_start(arguments, text);
    fputs("load: ", stderr);
    vfprintf(stderr, text, arguments);
    fputc('\n', stderr);
    exit(1);
}

static uint64_t time_of(clockid_t clock) {
    struct timespec t;
    return clock_gettime(clock, &t) ? 0 : (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t now(void) { return time_of(CLOCK_MONOTONIC); }

/* CPU time of all threads of the server, in nanoseconds; 0 when it is not known. */
static uint64_t server_cpu(void) {
    clockid_t clock;
    return options.pid && !clock_getcpuclockid(options.pid, &clock) ? time_of(clock) : 0;
}

/* Minor page faults of the server so far; 0 when they are not known. */
static unsigned long server_faults(void) {
    char path[64];
    unsigned long faults = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", options.pid);
    FILE *file = options.pid ? fopen(path, "r") : NULL;
    if (!file) return 0;
    if (fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %lu", &faults) != 1) faults = 0;
    fclose(file);
    return faults;
}

static long server_rss(void) {
    char path[64];
    long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", options.pid);
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%*d %ld", &pages) != 1) fail("the memory of process %d cannot be read", options.pid);
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

/* ---- latencies: 64 buckets per power of two, so within 1.6 % ---- */

static void record(uint64_t ns, uint64_t times) {
    int shift = ns < (2u << FINE) ? 0 : 63 - __builtin_clzll(ns) - FINE;
    size_t index = ((size_t)shift << FINE) + (size_t)(ns >> shift);
    histogram[index < BUCKETS ? index : BUCKETS - 1] += times;
}

static double percentile(double share) {
    uint64_t total = 0, seen = 0;
    for (size_t i = 0; i < BUCKETS; i++) total += histogram[i];
    for (size_t i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (total && (double)seen >= share * (double)total) {
            int shift = i < (2u << FINE) ? 0 : (int)(i >> FINE) - 1;
            return (double)((uint64_t)(i - ((size_t)shift << FINE)) << shift) / 1000;
        }
    }
    return 0;
}

/* ---- frames ---- */

static size_t put_header(unsigned char *out, unsigned first, size_t length, bool masked) {
    unsigned mask = masked ? 0x80 : 0;
    size_t n = 0;
    out[n++] = (unsigned char)first;
    if (length < 126) {
        out[n++] = (unsigned char)(mask | length);
    } else {
        int bytes = length < 65536 ? 2 : 8;
        out[n++] = (unsigned char)(mask | (bytes == 2 ? 126 : 127));
        while (bytes--) out[n++] = (unsigned char)((uint64_t)length >> (8 * bytes));
    }
    if (masked) memcpy(out + n, MASK, 4), n += 4;
    return n;
}

static unsigned char *repeated(const unsigned char *one, size_t size) {
    unsigned char *out = malloc(size * (size_t)(options.depth + 1));
    if (!out) fail("out of memory");
    for (int i = 0; i <= options.depth; i++) memcpy(out + (size_t)i * size, one, size);
    return out;
}

static void prepare(void) {
    unsigned char *payload;
    if (options.payload) {
        FILE *file = fopen(options.payload, "rb");
        if (!file) fail("%s: %s", options.payload, strerror(errno));
        payload = malloc(READ_SIZE);
        options.size = fread(payload, 1, READ_SIZE, file);
        fclose(file);
    } else {
        payload = malloc(options.size + 1);
        for (size_t i = 0; i < options.size; i++) payload[i] = (unsigned char)("the quick brown fox "[i % 20]);
    }
    unsigned first = (options.text ? 0x81u : 0x82u) | (options.extension ? 0x40u : 0);
    unsigned char *one = malloc(options.size + 14);
    size_t header = put_header(one, first, options.size, true);
    for (size_t i = 0; i < options.size; i++) one[header + i] = payload[i] ^ MASK[i & 3];
    frame_size = header + options.size;
    frames = repeated(one, frame_size);
    if (options.mode == TCP) {
        replies = frames, reply_size = frame_size;
    } else {
        header = put_header(one, first, options.size, false);
        memcpy(one + header, payload, options.size);
        reply_size = header + options.size;
        replies = repeated(one, reply_size);
    }
    free(one), free(payload);
}

/* ---- connections, opened one after the other, blocking ---- */

static void must_write(int fd, const void *data, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t n = write(fd, (const char *)data + done, size - done);
        if (n <= 0) fail("write: %s", strerror(errno));
        done += (size_t)n;
    }
}

static void must_read(int fd, void *data, size_t size) {
    ssize_t n = recv(fd, data, size, MSG_WAITALL);
    if (n != (ssize_t)size) fail("the server closed, or said nothing for too long");
}

static void shake_hands(int fd) {
    char text[2048];
    int length = snprintf(text, sizeof text,
        "GET %s HTTP/1.1\r\nHost: %s:%d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: YmVuY2htYXJrIGJlbmNobQ==\r\n%s%s%s\r\n", options.path, options.host, options.port,
        options.extension ? "Sec-WebSocket-Extensions: " : "", options.extension ? options.extension : "",
        options.extension ? "\r\n" : "");
    must_write(fd, text, (size_t)length);
    size_t got = 0;
    char *end;
    do {
        ssize_t n = recv(fd, text + got, sizeof text - 1 - got, 0);
        if (n <= 0) fail("no answer to the handshake: %s", n ? strerror(errno) : "closed");
        got += (size_t)n;
        text[got] = 0;
    } while (!(end = strstr(text, "\r\n\r\n")) && got < sizeof text - 1);
    if (!end || strncmp(text, "HTTP/1.1 101", 12)) fail("not a 101: %s", text);
    if ((size_t)(end + 4 - text) != got) fail("the server sent something before it was asked");
    if (options.extension && !strcasestr(text, "permessage-deflate")) fail("permessage-deflate was not negotiated");
}

/* What the server makes of the first frame is what it must make of every other: its own compression, for one. */
static void learn_reply(int fd) {
    unsigned char head[10], *one;
    must_write(fd, frames, frame_size);
    must_read(fd, head, 2);
    size_t header = 2, length = head[1] & 0x7f;
    if (length > 125) {
        size_t bytes = length == 126 ? 2 : 8;
        must_read(fd, head + 2, bytes);
        for (length = 0; header < 2 + bytes; header++) length = length << 8 | head[header];
    }
    one = malloc(header + length);
    memcpy(one, head, header);
    must_read(fd, one + header, length);
    reply_size = header + length;
    replies = repeated(one, reply_size);
    FILE *file = fopen(options.learn, "wb");
    if (!file || fwrite(one, 1, reply_size, file) != reply_size) fail("%s: %s", options.learn, strerror(errno));
    fclose(file), free(one);
    options.learn = NULL;
}

static int open_connection(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    struct timeval patience = {.tv_sec = STALLED_SECONDS};
    struct linger reset = {.l_onoff = 1};  /* no TIME_WAIT: a few runs of 10 000 connections would use up the ports */
    if (fd < 0) fail("socket: %s (ulimit -n?)", strerror(errno));
    inet_pton(AF_INET, options.host, &address.sin_addr);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) fail("connect: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    if (options.mode != TCP) shake_hands(fd);
    if (options.learn) learn_reply(fd);
    return fd;
}

/* ---- the loop ---- */

static void watch(struct connection *c, bool out, int operation) {
    struct epoll_event event = {.events = out ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};
    if (epoll_ctl(poller, operation, c->fd, &event)) fail("epoll_ctl: %s", strerror(errno));
    c->wants_out = out;
}

static void push(struct connection *c) {
    while (c->out_left) {
        ssize_t n = send(c->fd, frames + c->out_at, c->out_left, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN) break;
            fail("send: %s", strerror(errno));
        }
        c->out_left -= (size_t)n;
        c->out_at = (c->out_at + (size_t)n) % frame_size;
    }
    if ((c->out_left > 0) != c->wants_out) watch(c, c->out_left > 0, EPOLL_CTL_MOD);
}

static void submit(struct connection *c, unsigned n, uint64_t when) {
    for (unsigned i = 0; i < n; i++) c->sent[(c->first + c->in_flight + i) % (unsigned)options.depth] = when;
    c->in_flight += n;
    c->out_left += n * frame_size;
    push(c);
}

/* Read once. Returns how many replies are complete. */
static unsigned pull(struct connection *c) {
    static unsigned char data[READ_SIZE];
    ssize_t n = recv(c->fd, data, sizeof data, 0);
    if (n < 0 && errno == EAGAIN) return 0;
    if (n <= 0) fail("connection lost: %s", n ? strerror(errno) : "closed by the server");
    if (c->in_at + (size_t)n > c->in_flight * reply_size) fail("more came back than was sent");
    if (memcmp(data, replies + c->in_at, (size_t)n)) fail("what came back is not what was sent");
    unsigned done = (unsigned)((c->in_at + (size_t)n) / reply_size);
    c->in_at = (c->in_at + (size_t)n) % reply_size;
    uint64_t when = done && counting ? now() : 0;
    for (unsigned i = 0; i < done; i++) {
        if (counting) record(when - c->sent[c->first], 1);
        c->first = (c->first + 1) % (unsigned)options.depth;
    }
    c->in_flight -= done;
    completed += done;
    return done;
}

static unsigned missing;  /* broadcast: connections that wait for something */

static void begin_broadcast(void) {
    uint64_t when = now();
    missing = (unsigned)options.connections;
    for (int i = 1; i < options.connections; i++) {
        for (int j = 0; j < options.depth; j++) all[i].sent[(all[i].first + (unsigned)j) % (unsigned)options.depth] = when;
        all[i].in_flight = (unsigned)options.depth;
    }
    submit(&all[0], (unsigned)options.depth, when);
}

static void handle(struct connection *c, uint32_t events) {
    if (events & EPOLLOUT) push(c);
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
    unsigned done = pull(c);
    if (!done) return;
    if (options.mode == BROADCAST) {
        if (!c->in_flight && !--missing) begin_broadcast();
    } else if (options.slide) {
        submit(c, done, now());
    } else if (!c->in_flight) {
        submit(c, (unsigned)options.depth, now());
    }
}

static uint64_t own_cpu(void) { return time_of(CLOCK_PROCESS_CPUTIME_ID); }

static void run(void) {
    poller = epoll_create1(EPOLL_CLOEXEC);
    all = calloc((size_t)options.connections, sizeof *all);
    for (int i = 0; i < options.connections; i++) {
        all[i].fd = open_connection();
        all[i].sent = calloc((size_t)options.depth, sizeof(uint64_t));
    }
    for (int i = 0; i < options.connections; i++) {
        fcntl(all[i].fd, F_SETFL, O_NONBLOCK);
        watch(&all[i], false, EPOLL_CTL_ADD);
    }
    double warm_up = options.warm_up >= 0 ? options.warm_up : options.seconds * 0.2;
    uint64_t start = now(), from = 0, cpu = 0, own = 0, before = 0, seen = 0, progress = start, t;
    unsigned long faults = 0;
    uint64_t warm = start + (uint64_t)(warm_up * 1e9), end = UINT64_MAX;
    uint64_t first_replies = (uint64_t)options.connections * (uint64_t)options.depth;
    if (options.mode == BROADCAST) {
        begin_broadcast();
    } else {
        for (int i = 0; i < options.connections; i++) submit(&all[i], (unsigned)options.depth, now());
    }
    while ((t = now()) < end) {
        struct epoll_event events[512];
        if (!counting && t >= warm && completed >= first_replies) {
            counting = true, from = now(), before = completed, cpu = server_cpu(), own = own_cpu();
            faults = server_faults();
            end = from + (uint64_t)(options.seconds * 1e9);
        }
        int n = epoll_wait(poller, events, 512, 50);
        for (int i = 0; i < n; i++) handle(events[i].data.ptr, events[i].events);
        if (completed != seen) {
            seen = completed, progress = t;
        } else if (t - progress > STALLED_SECONDS * 1000000000ull) {
            fail("nothing came back for %d seconds", STALLED_SECONDS);
        }
    }
    uint64_t spent = server_cpu() - cpu, own_spent = own_cpu() - own, messages = completed - before;
    faults = server_faults() - faults;
    double seconds = (double)(now() - from) / 1e9;
    printf("{\"messages\": %llu, \"seconds\": %.6f, \"rate\": %.1f, \"bytes\": %zu, \"p50_us\": %.2f, \"p99_us\": %.2f, "
           "\"server_cpu\": %.6f, \"load_cpu\": %.6f, \"server_faults\": %lu}\n",
           (unsigned long long)messages, seconds, (double)messages / seconds, options.size, percentile(0.5),
           percentile(0.99), (double)spent / 1e9, (double)own_spent / 1e9, faults);
}

/* ---- idle connections ---- */

static void open_idle(int count) {
    unsigned char *reply = malloc(reply_size);
    for (int i = 0; i < count; i++) {
        int fd = open_connection();
        must_write(fd, frames, frame_size);
        must_read(fd, reply, reply_size);
        if (memcmp(reply, replies, reply_size)) fail("what came back is not what was sent");
    }
    free(reply);
}

static void run_idle(void) {
    enum { FIRST = 50 };  /* what a server allocates once is none of a connection's */
    open_idle(FIRST);
    usleep(300000);
    long base = server_rss();
    printf("{\"base\": %ld, \"steps\": [", base);
    for (int i = 0, opened = 0; i < options.n_steps; i++) {
        open_idle(options.steps[i] - opened);
        opened = options.steps[i];
        usleep(500000);
        long rss = server_rss();
        printf("%s{\"connections\": %d, \"rss\": %ld, \"each\": %.1f}", i ? ", " : "", opened, rss,
               (double)(rss - base) / opened);
    }
    puts("]}");
}

/* ---- the command line ---- */

static const struct option NAMES[] = {
    {"host", 1, 0, 'h'}, {"port", 1, 0, 'p'}, {"path", 1, 0, 'P'}, {"pid", 1, 0, 'i'}, {"cpu", 1, 0, 'c'},
    {"connections", 1, 0, 'n'}, {"depth", 1, 0, 'd'}, {"size", 1, 0, 's'}, {"seconds", 1, 0, 't'},
    {"warm-up", 1, 0, 'w'}, {"text", 0, 0, 'x'}, {"slide", 0, 0, 'S'}, {"payload", 1, 0, 'f'},
    {"extension", 1, 0, 'e'}, {"learn", 1, 0, 'l'}, {"steps", 1, 0, 'k'}, {0, 0, 0, 0}};

static void read_options(int count, char **values) {
    static const char *const MODES[] = {"echo", "tcp", "broadcast", "idle"};
    int mode = 0, option;
    while (count > 1 && mode < 4 && strcmp(values[1], MODES[mode])) mode++;
    if (count < 2 || mode == 4) fail("the first argument is one of echo, tcp, broadcast, idle");
    options.mode = (enum mode)mode;
    optind = 2;
    while ((option = getopt_long(count, values, "", NAMES, NULL)) != -1) switch (option) {
        case 'h': options.host = optarg; break;
        case 'p': options.port = atoi(optarg); break;
        case 'P': options.path = optarg; break;
        case 'i': options.pid = atoi(optarg); break;
        case 'c': options.cpu = atoi(optarg); break;
        case 'n': options.connections = atoi(optarg); break;
        case 'd': options.depth = atoi(optarg); break;
        case 's': options.size = strtoull(optarg, NULL, 10); break;
        case 't': options.seconds = atof(optarg); break;
        case 'w': options.warm_up = atof(optarg); break;
        case 'x': options.text = true; break;
        case 'S': options.slide = true; break;
        case 'f': options.payload = optarg; break;
        case 'e': options.extension = optarg; break;
        case 'l': options.learn = optarg; break;
        case 'k':
            for (char *step = strtok(optarg, ","); step && options.n_steps < MAX_STEPS; step = strtok(NULL, ","))
                options.steps[options.n_steps++] = atoi(step);
            break;
        default: exit(2);
        }
    if (!options.port || options.connections < 1 || options.depth < 1) fail("--port, --connections, --depth?");
    if (options.mode == IDLE && (!options.pid || !options.n_steps)) fail("idle needs --pid and --steps");
}

int main(int count, char **values) {
    struct rlimit files;
    read_options(count, values);
    signal(SIGPIPE, SIG_IGN);
    if (options.cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(options.cpu, &set);
        if (sched_setaffinity(0, sizeof set, &set)) fail("cannot run on core %d", options.cpu);
    }
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    prepare();
    if (options.mode == IDLE) run_idle();
    else run();
    return 0;
}
