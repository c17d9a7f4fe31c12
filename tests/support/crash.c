// SPDX-License-Identifier: Apache-2.0
#include "support/crash.h"

#include <execinfo.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static time_t begun;
static char seed[32];

/* Whatever is called here may be what was interrupted: no more than is needed. */
static void say(int signal, siginfo_t *info, void *context)
{
    void *calls[64];
    char line[160];
    int n;

    (void)context;
    n = snprintf(line, sizeof(line),
                 "died of signal %d, code %d, address %p, thread %ld of %d; seed %s, %ld s\n",
                 signal, info->si_code, info->si_addr, syscall(SYS_gettid), getpid(), seed,
                 (long)(time(NULL) - begun));
    if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0)
        _exit(1);
    backtrace_symbols_fd(calls, backtrace(calls, 64), STDERR_FILENO);
    raise(signal); /* the default action is next */
}

void crash_watch(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    struct sigaction action = {.sa_sigaction = say, .sa_flags = SA_SIGINFO | SA_RESETHAND};
    const char *given = getenv("KLOTSKI_SEED");
    void *first[1];

    begun = time(NULL);
    snprintf(seed, sizeof(seed), "%s", given ? given : "1");
    backtrace(first, 1); /* loads what it needs while it may */
    for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaction(signals[i], &action, NULL);
}
