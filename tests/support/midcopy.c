// SPDX-License-Identifier: Apache-2.0
#include "support/midcopy.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static struct {
    char *buf;
    size_t page;
    void (*act)(void);
    pthread_t thread;
    struct sigaction before;
    atomic_bool stands, done, over;
} m;

static void *actor(void *arg)
{
    (void)arg;
    while (!atomic_load(&m.stands) && !atomic_load(&m.over))
        sched_yield();
    if (atomic_load(&m.stands))
        m.act();
    atomic_store(&m.done, true);
    return NULL;
}

/* In the thread that copies: nothing here but waiting. */
static void fault(int sig, siginfo_t *info, void *context)
{
    const char *at = info->si_addr;

    (void)sig, (void)context;
    if (at < m.buf + m.page || at >= m.buf + 2 * m.page || atomic_load(&m.done))
        _exit(139); /* somebody else's fault */
    atomic_store(&m.stands, true);
    while (!atomic_load(&m.done))
        sched_yield();
    mprotect(m.buf, 2 * m.page, PROT_READ | PROT_WRITE);
}

bool midcopy_can(void)
{
#ifdef __i386__
    return getenv("MESON_EXE_WRAPPER") == NULL;
#else
    return true;
#endif
}

char *midcopy_begin(void (*act)(void))
{
    struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO};

    m.page = (size_t)sysconf(_SC_PAGESIZE);
    m.buf = mmap(NULL, 2 * m.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(m.buf != MAP_FAILED);
    m.buf[0] = 1;
    assert_int_equal(mprotect(m.buf + m.page, m.page, PROT_NONE), 0);
    m.act = act;
    atomic_store(&m.stands, false);
    atomic_store(&m.done, false);
    atomic_store(&m.over, false);
    assert_int_equal(sigaction(SIGSEGV, &action, &m.before), 0);
    assert_int_equal(pthread_create(&m.thread, NULL, actor, NULL), 0);
    return m.buf;
}

bool midcopy_end(void)
{
    atomic_store(&m.over, true);
    pthread_join(m.thread, NULL);
    sigaction(SIGSEGV, &m.before, NULL);
    munmap(m.buf, 2 * m.page);
    return atomic_load(&m.stands);
}
