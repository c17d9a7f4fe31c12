// SPDX-License-Identifier: Apache-2.0
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "support/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, NOBODY = 65534, FDS = 1024, CHUNK = 64 << 10 };

struct message {
    size_t bytes;
    bool writable, stays;
};

/* The secret, turned round: so it is in the searcher's memory only if it has got at it. */
struct question {
    uint64_t inverse[2];
    pid_t parent;
};

/* ---- the peer ---- */

struct mine {
    int talk, watched, fd;
    bool is_another; /* user than the test */
    struct message m;
    char *map;
};

static void become_another(struct mine *me)
{
    me->is_another = geteuid() == 0;
    for (int fd = 3; fd < FDS; fd++) {
        if (fd != me->talk && fd != me->watched)
            close(fd);
    }
    signal(SIGBUS, SIG_DFL); /* not cmocka's */
    if (me->is_another && (setgid(NOBODY) != 0 || setuid(NOBODY) != 0))
        _exit(90);
    prctl(PR_SET_DUMPABLE, 1);        /* to look at itself */
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* and not to outlive a test that fails */
}

static void receive(struct mine *me)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec io = {.iov_base = &me->m, .iov_len = sizeof(me->m)};
    struct msghdr msg = {.msg_iov = &io,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof(control)};

    if (recvmsg(me->talk, &msg, 0) != (ssize_t)sizeof(me->m) || !CMSG_FIRSTHDR(&msg))
        _exit(0); /* nobody wants it */
    memcpy(&me->fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
}

static char *map_it(const struct mine *me)
{
    int prot = PROT_READ | (me->m.writable ? PROT_WRITE : 0);

    return mmap(NULL, me->m.bytes, prot, MAP_SHARED, me->fd, 0);
}

static void rage(struct mine *me)
{
    for (unsigned n = 0;; n++) {
        char *map = map_it(me);

        if (map == MAP_FAILED)
            _exit(92);
        send(me->watched, "garbage", 7, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (me->m.writable) {
            if (n % 7 == 3)
                fallocate(me->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE * (n % 19),
                          PAGE);
            if (pwrite(me->fd, "garbage", 7, (off_t)(n % me->m.bytes)) < 0)
                n++;
            map[n % me->m.bytes] = 'g'; /* SIGBUS when it was taken back */
        } else {
            n += (unsigned)*(volatile char *)&map[n % me->m.bytes] & 1;
        }
        munmap(map, me->m.bytes);
    }
}

static ssize_t peek(const void *at, void *to, size_t n)
{
    struct iovec ours = {.iov_base = to, .iov_len = n};
    struct iovec theirs = {.iov_base = (void *)(uintptr_t)at, .iov_len = n};

    return process_vm_readv(getpid(), &ours, 1, &theirs, 1, 0);
}

static char chunk[CHUNK];

static int hits_in(size_t n, const struct question *q)
{
    int hits = 0;

    for (size_t at = 0; at + 16 <= n; at += 8) {
        uint64_t word[2];

        memcpy(word, chunk + at, sizeof(word));
        hits += (word[0] ^ q->inverse[0]) == UINT64_MAX && (word[1] ^ q->inverse[1]) == UINT64_MAX;
    }
    memset(chunk, 0, sizeof(chunk)); /* or it is found again */
    return hits;
}

/* All that can be read of this process; what a sanitizer has reserved is left out. */
static int search(const struct question *q)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    uintptr_t from, to;
    char line[512], access[5];
    int hits = 0;

    while (maps && fgets(line, sizeof(line), maps)) {
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &from, &to, access) != 3 ||
            access[0] != 'r' || to - from > 1u << 30)
            continue;
        for (; from < to; from += CHUNK) {
            size_t n = to - from < CHUNK ? to - from : CHUNK;

            if (from != (uintptr_t)chunk && peek((void *)from, chunk, n) > 0)
                hits += hits_in(n, q);
        }
    }
    if (maps)
        fclose(maps);
    return hits;
}

/* What there was of the file: nothing can be read, written, or made longer. */
static int try_file(const struct mine *me)
{
    char byte, *again = map_it(me);
    int got = 0;

    got += peek(me->map, &byte, 1) > 0;
    got += again != MAP_FAILED && peek(again, &byte, 1) > 0;
    got += pread(me->fd, &byte, 1, 0) > 0;
    got += pwrite(me->fd, "x", 1, 0) > 0;
    got += ftruncate(me->fd, PAGE) == 0;
    got += fallocate(me->fd, 0, 0, PAGE) == 0;
    got += fcntl(me->fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0;
    return got;
}

/* The process that has the zone. */
static int try_process(const struct mine *me, pid_t pid)
{
    char path[64], byte;
    struct iovec ours = {.iov_base = &byte, .iov_len = 1};
    struct iovec theirs = {.iov_base = chunk, .iov_len = 1}; /* is there in both */
    int got = 0, fd;

    if (!me->is_another)
        return 0;
    got += process_vm_readv(pid, &ours, 1, &theirs, 1, 0) > 0;
    snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
    got += open(path, O_RDONLY) >= 0;
    for (fd = 0; fd < 64; fd++) {
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
        got += open(path, O_RDONLY | O_NONBLOCK) >= 0;
    }
    return got;
}

static int answer(const struct mine *me, const struct question *q)
{
    static uint64_t control[2];
    int got;

    if (peek(chunk, control, 1) < 0)
        return -1;
    got = try_file(me) + try_process(me, q->parent) + search(q);
    for (unsigned i = 0; i < 2; i++)
        control[i] = ~q->inverse[i];
    return search(q) > 0 ? got : 1000; /* it would not find anything */
}

static void stay(struct mine *me)
{
    struct question q;
    int got;

    me->map = map_it(me);
    if (me->map == MAP_FAILED)
        _exit(92);
    for (size_t at = 0; at < me->m.bytes; at += PAGE)
        (void)*(volatile char *)&me->map[at];
    close(me->watched);
    if (recv(me->talk, &q, sizeof(q), 0) != (ssize_t)sizeof(q))
        _exit(0);
    got = answer(me, &q);
    if (send(me->talk, &got, sizeof(got), 0) != (ssize_t)sizeof(got))
        _exit(93);
    for (;;)
        pause();
}

static void live(int talk, int watched)
{
    struct mine me = {.talk = talk, .watched = watched};

    become_another(&me);
    receive(&me);
    if (me.m.stays)
        stay(&me);
    rage(&me);
}

/* ---- the test's side ---- */

void peer_start(struct peer *p, bool by_socket)
{
    int talk[2], watch[2], pidfd = -1;

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, talk), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, watch), 0);
    p->pid = fork();
    if (p->pid == 0)
        live(talk[1], watch[1]);
    assert_true(p->pid > 0);
    close(talk[1]);
    close(watch[1]);
    if (!by_socket)
        pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    if (pidfd >= 0)
        close(watch[0]);
    p->watch = pidfd >= 0 ? pidfd : watch[0];
    p->talk = talk[0];
}

void peer_end(struct peer *p)
{
    int status;

    kill(p->pid, SIGKILL);
    assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
    if (WIFEXITED(status))
        assert_int_equal(WEXITSTATUS(status), 92); /* it could not map it any more */
    else
        assert_true(WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGBUS);
    close(p->watch);
    close(p->talk);
}

static void send_it(const struct peer *p, int fd, struct message m)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec io = {.iov_base = &m, .iov_len = sizeof(m)};
    struct msghdr msg = {.msg_iov = &io,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof(control)};

    control.header = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    assert_int_equal(sendmsg(p->talk, &msg, MSG_NOSIGNAL), sizeof(m));
}

void peer_send(struct peer *p, int fd, size_t bytes, bool writable)
{
    send_it(p, fd, (struct message){.bytes = bytes, .writable = writable});
}

void peer_send_to_stay(struct peer *p, int fd, size_t bytes, bool writable)
{
    send_it(p, fd, (struct message){.bytes = bytes, .writable = writable, .stays = true});
}

bool peer_secret(uint64_t secret[2])
{
    return getrandom(secret, 16, 0) == 16;
}

int peer_searches(struct peer *p, const uint64_t secret[2])
{
    struct question q = {.inverse = {~secret[0], ~secret[1]}, .parent = getpid()};
    int got;

    assert_int_equal(send(p->talk, &q, sizeof(q), MSG_NOSIGNAL), sizeof(q));
    assert_int_equal(recv(p->talk, &got, sizeof(got), 0), sizeof(got));
    return got;
}

bool peer_file_is_empty(int fd)
{
    struct stat st;
    char byte;

    return fstat(fd, &st) == 0 && st.st_size == 0 && st.st_blocks == 0 &&
           pread(fd, &byte, 1, 0) == 0;
}
