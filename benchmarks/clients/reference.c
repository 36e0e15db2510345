/* The least that any client can do: epoll, recv, a stamp per read, nothing parsed while streams are open.
 *
 * usage: reference HOST PORT STREAMS CALLS BODY
 * Afterwards one line per answer: its id, the start, the stamp of the last event, then a stamp per delta (ns of
 * CLOCK_MONOTONIC); the last line is "cpu" and the CPU time in ns. It expects what the golden server sends: chunked
 * replies, one data line to a chunk, and knows nothing else of HTTP.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct read_at { int64_t ns; size_t end; };
struct answer { int64_t start; char *bytes; size_t used, room; struct read_at *reads; size_t count, slots; };
struct stream { int fd, left; struct answer *answers; size_t made; };

static const char END[] = "\r\n0\r\n\r\n";

static int64_t now(clockid_t clock) {
    struct timespec at;
    clock_gettime(clock, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void ask(struct stream *s, const char *request, size_t length) {
    struct answer *a = &s->answers[s->made++];
    a->room = 65536;
    a->bytes = malloc(a->room);
    a->slots = 256;
    a->reads = malloc(a->slots * sizeof *a->reads);
    s->left--;
    a->start = now(CLOCK_MONOTONIC);
    if (send(s->fd, request, length, MSG_NOSIGNAL) != (ssize_t)length) die("send");
}

static int take(struct stream *s) {
    struct answer *a = &s->answers[s->made - 1];
    if (a->room - a->used < 65536 && !(a->bytes = realloc(a->bytes, a->room *= 2))) die("realloc");
    ssize_t got = recv(s->fd, a->bytes + a->used, 65536, 0);
    int64_t at = now(CLOCK_MONOTONIC);
    if (got <= 0) die("recv");
    a->used += got;
    if (a->count == a->slots && !(a->reads = realloc(a->reads, (a->slots *= 2) * sizeof *a->reads))) die("realloc");
    a->reads[a->count++] = (struct read_at){at, a->used};
    size_t tail = sizeof END - 1;
    return a->used >= tail && !memcmp(a->bytes + a->used - tail, END, tail);
}

static void tell(struct answer *a) {
    char *body = memmem(a->bytes, a->used, "\r\n\r\n", 4), *id = memmem(a->bytes, a->used, "x-golden-id: ", 13);
    if (!body || !id) die("no such reply");
    id += 13;
    int64_t last = 0;
    size_t read = 0, deltas = 0;
    int64_t *stamps = malloc((a->used / 8 + 1) * sizeof *stamps);
    for (char *at = body + 4, *line; (line = memmem(at, a->bytes + a->used - at, "data: ", 6)); ) {
        char *end = memmem(line, a->bytes + a->used - line, "\n\n", 2);
        if (!end) break;
        while (a->bytes + a->reads[read].end < end + 2) read++;
        last = a->reads[read].ns;
        if (memmem(line, end - line, "\"content\":\"", 11)) stamps[deltas++] = last;
        at = end + 2;
    }
    printf("%.*s %lld %lld", (int)strcspn(id, "\r"), id, (long long)a->start, (long long)last);
    for (size_t i = 0; i < deltas; i++) printf(" %lld", (long long)stamps[i]);
    putchar('\n');
    free(stamps);
}

int main(int argc, char **argv) {
    if (argc != 6) return 2;
    int streams = atoi(argv[3]), calls = atoi(argv[4]), open = streams, started = 0;
    char request[4096];
    int length = snprintf(request, sizeof request, "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %zu\r\n\r\n%s",
                          strlen(argv[5]), argv[5]);
    struct stream *all = calloc(streams, sizeof *all);
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    if (inet_pton(AF_INET, argv[1], &where.sin_addr) != 1 || length >= (int)sizeof request) return 2;
    int poll = epoll_create1(0), one = 1;
    int64_t before = now(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < streams; i++) {
        all[i] = (struct stream){.fd = socket(AF_INET, SOCK_STREAM, 0), .left = calls};
        all[i].answers = calloc(calls, sizeof *all[i].answers);
        if (connect(all[i].fd, (struct sockaddr *)&where, sizeof where)) die("connect");
        setsockopt(all[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        epoll_ctl(poll, EPOLL_CTL_ADD, all[i].fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = &all[i]});
    }
    while (open) {
        struct epoll_event ready[64];
        if (started < streams) ask(&all[started++], request, length);
        int n = epoll_wait(poll, ready, 64, started < streams ? 0 : -1);
        for (int i = 0; i < n; i++) {
            struct stream *s = ready[i].data.ptr;
            if (!take(s)) continue;
            if (s->left) ask(s, request, length);
            else close(s->fd), open--;
        }
    }
    int64_t cpu = now(CLOCK_PROCESS_CPUTIME_ID) - before;
    for (int i = 0; i < streams; i++)
        for (size_t k = 0; k < all[i].made; k++) tell(&all[i].answers[k]);
    printf("cpu %lld\n", (long long)cpu);
    return 0;
}
