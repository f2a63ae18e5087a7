/*
 * The floor: what a pooler's system calls must cost. Passes bytes between clients and one server over epoll,
 * parses nothing, and gives up at the first error. A measuring stick, not a design.
 *
 *   relay PORT SERVER_PORTS [PROCESSES]
 *
 * Of several servers, with commas between their ports, each client gets the next.
 * Without PROCESSES one process serves all clients; with it each of them serves one at a time, as pgpool-II's do.
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "floor.h"

enum { MOST = 65536 };

static int peer[MOST];

static struct sockaddr_in loopback(const char *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void no_delay(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int listen_at(const char *port) {
    struct sockaddr_in address = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    need(bind(fd, (void *)&address, sizeof address) == 0 && listen(fd, 1024) == 0, "listen");
    return fd;
}

static void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    need(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
}

/* Takes a client and connects it to a server. */
static void take(int epoll, int listener, const char *servers) {
    struct sockaddr_in address = loopback(next(servers));
    int client = accept(listener, 0, 0), other = socket(AF_INET, SOCK_STREAM, 0);
    need(client >= 0 && client < MOST && other < MOST, "accept");
    need(connect(other, (void *)&address, sizeof address) == 0, "connect");
    no_delay(client);
    no_delay(other);
    peer[client] = other;
    peer[other] = client;
    watch(epoll, client);
    watch(epoll, other);
}

/* Passes on what has come; 0 when the connection has ended. */
static int pass(int from) {
    static char buffer[65536];
    int to = peer[from];
    if (to < 0)
        return 1;
    ssize_t got = recv(from, buffer, sizeof buffer, 0);
    if (got <= 0) {
        close(from);
        close(to);
        peer[from] = peer[to] = -1;
        return 0;
    }
    for (ssize_t at = 0; at < got;) {
        ssize_t sent = send(to, buffer + at, got - at, 0);
        if (sent < 0)
            break;
        at += sent;
    }
    return 1;
}

static void serve_all(int listener, const char *server) {
    struct epoll_event events[256];
    int epoll = epoll_create1(0);
    watch(epoll, listener);
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener)
                take(epoll, listener, server);
            else
                pass(events[i].data.fd);
        }
    }
}

static void serve_one_by_one(int listener, const char *server) {
    struct epoll_event event;
    for (;;) {
        int epoll = epoll_create1(0), on = 1;
        take(epoll, listener, server);
        while (on)
            on = epoll_wait(epoll, &event, 1, -1) < 1 || pass(event.data.fd);
        close(epoll);
    }
}

int main(int count, char **words) {
    if (count < 3) {
        fprintf(stderr, "usage: relay PORT SERVER_PORTS [PROCESSES]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    int listener = listen_at(words[1]);
    for (int left = count > 3 ? atoi(words[3]) : 0; left > 0; left--) {
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            serve_one_by_one(listener, words[2]);
        }
    }
    if (count > 3)
        pause();
    serve_all(listener, words[2]);
}
