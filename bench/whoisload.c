/* A closed-loop load generator for WHOIS (RFC 3912): one thread, epoll.
 *
 * Each of `-c` slots does one request after the other: connect, send a line, read to the end, close. `-n` requests in all,
 * the lines of the file `-f` in their order, over and over. Prints one line of JSON: how many were done and how fast,
 * latency in microseconds (connect to end of answer) by rank, and what went wrong, by kind. An answer that does not hold
 * the text `-m` is counted as a miss. Speaks to loopback alone.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, LONGEST_LINE = 1024, LONGEST_ANSWER = 262144, REQUEST_LIMIT_US = 10 * 1000 * 1000, SWEEP_MS = 200 };

typedef struct {
    int fd; /* -1 when it does nothing */
    int is_sent;
    uint32_t generation; /* tells an event of this request from a late one of the request before */
    const char *line;
    long received;
    uint64_t began;
} Slot;

static Slot *slots;
static char **lines;
static long line_count, wanted = 100000, begun, done, bytes;
static long connect_errors, io_errors, timeouts, empties, misses;
static uint32_t *latencies;
static const char *must_hold;
static struct sockaddr_in server = {.sin_family = AF_INET};
static int slot_count = 64, poller;
static char buffer[LONGEST_ANSWER];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000ull + now.tv_nsec / 1000;
}

static void read_lines(const char *path) {
    FILE *file = fopen(path, "r");
    char text[LONGEST_LINE];
    long room = 1024;
    if (!file)
        fail(path);
    lines = malloc(room * sizeof *lines);
    while (fgets(text, sizeof text, file)) {
        text[strcspn(text, "\r\n")] = 0;
        if (line_count == room)
            lines = realloc(lines, (room *= 2) * sizeof *lines);
        if (asprintf(&lines[line_count++], "%s\r\n", text) < 0)
            fail("memory");
    }
    fclose(file);
    if (!line_count) {
        fprintf(stderr, "%s: no lines\n", path);
        exit(2);
    }
}

/* 1 when the line is on its way, 0 when the connection is not there yet, -1 on an error. */
static int send_line(Slot *slot) {
    int size = strlen(slot->line);
    ssize_t sent = send(slot->fd, slot->line, size, MSG_NOSIGNAL);
    if (sent == size)
        return slot->is_sent = 1;
    return sent < 0 && (errno == EAGAIN || errno == ENOTCONN || errno == EINPROGRESS) ? 0 : -1;
}

static void release(Slot *slot) {
    if (slot->fd >= 0)
        close(slot->fd);
    slot->fd = -1;
    slot->generation++;
}

static int try_begin(Slot *slot) {
    slot->line = lines[(begun - 1) % line_count];
    slot->is_sent = 0;
    slot->received = 0;
    slot->began = now_us();
    slot->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (slot->fd < 0 || (connect(slot->fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS))
        return 0;
    if (send_line(slot) < 0)
        return 0;
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET | (slot->is_sent ? 0 : EPOLLOUT)};
    event.data.u64 = (uint64_t)slot->generation << 32 | (uint32_t)(slot - slots);
    return !epoll_ctl(poller, EPOLL_CTL_ADD, slot->fd, &event);
}

static void begin(Slot *slot) {
    while (begun < wanted) {
        begun++;
        if (try_begin(slot))
            return;
        connect_errors++;
        release(slot);
    }
}

/* Ends a request, counting it as done or as an error of this kind, and begins the next. */
static void end(Slot *slot, long *error) {
    if (error)
        (*error)++;
    else if (!slot->received)
        empties++;
    else
        latencies[done++] = now_us() - slot->began;
    bytes += slot->received;
    release(slot);
    begin(slot);
}

static void receive(Slot *slot) {
    for (;;) {
        ssize_t size = recv(slot->fd, buffer, sizeof buffer, 0);
        if (size > 0) {
            if (must_hold && !slot->received && !memmem(buffer, size, must_hold, strlen(must_hold)))
                misses++;
            slot->received += size;
        } else if (size == 0) {
            end(slot, NULL);
            return;
        } else {
            if (errno != EAGAIN)
                end(slot, &io_errors);
            return;
        }
    }
}

static void handle(Slot *slot, uint32_t events) {
    if (!slot->is_sent && events & (EPOLLOUT | EPOLLERR | EPOLLHUP) && send_line(slot) < 0)
        end(slot, &connect_errors);
    else if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        receive(slot);
}

static void sweep(uint64_t now) {
    for (int i = 0; i < slot_count; i++)
        if (slots[i].fd >= 0 && now - slots[i].began > REQUEST_LIMIT_US)
            end(&slots[i], &timeouts);
}

static void run(void) {
    uint64_t swept = now_us();
    for (int i = 0; i < slot_count; i++)
        begin(&slots[i]);
    while (done + connect_errors + io_errors + timeouts + empties < wanted) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(poller, events, EVENTS, SWEEP_MS);
        for (int i = 0; i < ready; i++) {
            Slot *slot = &slots[(uint32_t)events[i].data.u64];
            if (slot->fd >= 0 && slot->generation == events[i].data.u64 >> 32)
                handle(slot, events[i].events);
        }
        if (now_us() - swept > SWEEP_MS * 1000)
            sweep(swept = now_us());
    }
}

static int compare(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static uint32_t rank(double share) { return done ? latencies[(long)((done - 1) * share)] : 0; }

static void report(double seconds) {
    qsort(latencies, done, sizeof *latencies, compare);
    printf("{\"done\": %ld, \"seconds\": %.6f, \"bytes\": %ld, \"p50\": %u, \"p90\": %u, \"p99\": %u, \"max\": %u, ", done,
           seconds, bytes, rank(.5), rank(.9), rank(.99), rank(1));
    printf("\"connect_errors\": %ld, \"io_errors\": %ld, \"timeouts\": %ld, \"empty\": %ld, \"misses\": %ld}\n",
           connect_errors, io_errors, timeouts, empties, misses);
}

int main(int count, char **arguments) {
    const char *path = NULL;
    int option;
    while ((option = getopt(count, arguments, "p:n:c:f:m:")) != -1)
        switch (option) {
        case 'p': server.sin_port = htons(atoi(optarg)); break;
        case 'n': wanted = atol(optarg); break;
        case 'c': slot_count = atoi(optarg); break;
        case 'f': path = optarg; break;
        case 'm': must_hold = optarg; break;
        default: path = NULL; optind = count + 1;
        }
    if (!path || optind != count || wanted < 1 || slot_count < 1 || !server.sin_port) {
        fprintf(stderr, "usage: whoisload -p PORT -f FILE [-n REQUESTS] [-c CONNECTIONS] [-m TEXT]\n");
        return 2;
    }
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    read_lines(path);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    latencies = malloc(wanted * sizeof *latencies);
    slots = calloc(slot_count, sizeof *slots);
    for (int i = 0; i < slot_count; i++)
        slots[i].fd = -1;
    poller = epoll_create1(EPOLL_CLOEXEC);
    uint64_t began = now_us();
    run();
    report((now_us() - began) / 1e6);
    return 0;
}
