/* The floor: the least that a WHOIS answer can cost on this machine.
 *
 * Accepts, reads once, sends a fixed text and closes: no query is understood, nothing is looked up, logged or limited.
 * What a server costs more than this is its own doing; what this costs is the kernel's.
 *
 *     floor PORT BYTES        listens on 127.0.0.1, answers with so many bytes, until it is killed
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 4096, EVENTS = 256, ACCEPTS_A_TURN = 64, LONGEST_ANSWER = 65536, COLUMNS = 60 };

static char answer[LONGEST_ANSWER];
static int answer_size;
static int poller;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int listen_on(int port) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, BACKLOG))
        fail("cannot listen");
    return fd;
}

static void watch(int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
        fail("epoll_ctl");
}

/* Answers and closes once anything has come, or closes when nothing will; returns 0 when nothing has come yet. */
static int serve(int fd) {
    char query[4096];
    ssize_t size = recv(fd, query, sizeof query, 0);
    if (size < 0 && errno == EAGAIN)
        return 0;
    if (size > 0 && send(fd, answer, answer_size, MSG_NOSIGNAL) < 0)
        perror("send");
    close(fd);
    return 1;
}

static void accept_all(int listening) {
    for (int turn = 0; turn < ACCEPTS_A_TURN; turn++) {
        struct sockaddr_in peer;
        socklen_t size = sizeof peer;
        int fd = accept4(listening, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK);
        if (fd < 0)
            return;
        if (!serve(fd)) /* most queries are there by now, and need no turn of the poller */
            watch(fd);
    }
}

int main(int count, char **arguments) {
    if (count != 3 || (answer_size = atoi(arguments[2])) < 1 || answer_size > LONGEST_ANSWER) {
        fprintf(stderr, "usage: floor PORT BYTES, of which there are at most %d\n", LONGEST_ANSWER);
        return 2;
    }
    memset(answer, 'x', answer_size);
    for (int i = COLUMNS - 1; i < answer_size; i += COLUMNS)
        answer[i] = '\n';
    poller = epoll_create1(EPOLL_CLOEXEC);
    int listening = listen_on(atoi(arguments[1]));
    watch(listening);
    for (;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < ready; i++)
            if (events[i].data.fd == listening)
                accept_all(listening);
            else
                serve(events[i].data.fd);
    }
}
