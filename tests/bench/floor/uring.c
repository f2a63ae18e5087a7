/*
 * The floor over io_uring: the same as relay.c with standing receives into a ring of provided buffers, and one
 * system call a turn. For short messages: sends of one connection are not kept in order. A measuring stick, not a design.
 *
 *   uring PORT SERVER_PORTS
 *
 * Of several servers, with commas between their ports, each client gets the next.
 */
#define _GNU_SOURCE
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "floor.h"

enum { MOST = 65536, BUFFERS = 1024, SIZE = 16384 };
enum { ACCEPTED, RECEIVED, SENT };

static int peer[MOST];
static char *buffers;
static struct io_uring ring;
static struct io_uring_buf_ring *provided;

static int tcp(const char *port, int server) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (server)
        need(bind(fd, (void *)&address, sizeof address) == 0 && listen(fd, 1024) == 0, "listen");
    else
        need(connect(fd, (void *)&address, sizeof address) == 0, "connect");
    return fd;
}

static struct io_uring_sqe *entry(int what, int buffer, int fd) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    if (!sqe) {
        io_uring_submit(&ring);
        sqe = io_uring_get_sqe(&ring);
    }
    sqe->user_data = (unsigned long long)what << 56 | (unsigned long long)buffer << 24 | (unsigned)fd;
    return sqe;
}

static void receive(int fd) {
    struct io_uring_sqe *sqe = entry(RECEIVED, 0, fd);
    unsigned long long data = sqe->user_data;
    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = 0;
    sqe->user_data = data;
}

static void give(int buffer) {
    io_uring_buf_ring_add(provided, buffers + (size_t)buffer * SIZE, SIZE, buffer, BUFFERS - 1, 0);
    io_uring_buf_ring_advance(provided, 1);
}

static void take(int client, const char *servers) {
    int on = 1, other = tcp(next(servers), 0);
    need(client >= 0 && client < MOST && other < MOST, "accept");
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    peer[client] = other;
    peer[other] = client;
    receive(client);
    receive(other);
}

static void received(struct io_uring_cqe *cqe, int from) {
    int to = peer[from];
    if (cqe->res <= 0) {
        if (to >= 0) {
            shutdown(to, SHUT_RDWR);
            peer[to] = peer[from] = -1;
            close(from);
            close(to);
        }
        return;
    }
    int buffer = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    if (to < 0) {
        give(buffer);
        return;
    }
    struct io_uring_sqe *sqe = entry(SENT, buffer, to);
    unsigned long long data = sqe->user_data;
    io_uring_prep_send(sqe, to, buffers + (size_t)buffer * SIZE, cqe->res, MSG_WAITALL);
    sqe->user_data = data;
    if (!(cqe->flags & IORING_CQE_F_MORE))
        receive(from);
}

static void prepare(int listener) {
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN};
    need(io_uring_queue_init_params(4096, &ring, &params) == 0, "io_uring");
    buffers = malloc((size_t)BUFFERS * SIZE);
    need(posix_memalign((void **)&provided, 4096, BUFFERS * sizeof(struct io_uring_buf)) == 0, "memory");
    struct io_uring_buf_reg registration = {.ring_addr = (unsigned long)provided, .ring_entries = BUFFERS};
    need(io_uring_register_buf_ring(&ring, &registration, 0) == 0, "buffers");
    io_uring_buf_ring_init(provided);
    for (int buffer = 0; buffer < BUFFERS; buffer++)
        give(buffer);
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    io_uring_prep_multishot_accept(sqe, listener, 0, 0, 0);
    sqe->user_data = (unsigned long long)ACCEPTED << 56;
}

int main(int count, char **words) {
    if (count != 3) {
        fprintf(stderr, "usage: uring PORT SERVER_PORTS\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    prepare(tcp(words[1], 1));
    for (;;) {
        struct io_uring_cqe *cqe;
        unsigned head, seen = 0;
        io_uring_submit_and_wait(&ring, 1);
        io_uring_for_each_cqe(&ring, head, cqe) {
            seen++;
            unsigned long long data = cqe->user_data;
            switch (data >> 56) {
            case ACCEPTED: take(cqe->res, words[2]); break;
            case RECEIVED: received(cqe, data & 0xffffff); break;
            default: give(data >> 24 & 0xffff);
            }
        }
        io_uring_cq_advance(&ring, seen);
    }
}
