// SPDX-License-Identifier: Apache-2.0
/* The Linux host's sequences by themselves: what they do to a stack, and that an
 * interruption at each of their instructions leaves all or nothing. */
#include "klotski/klotski.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__x86_64__) && defined(__LP64__) && defined(__GLIBC__)
#if __GLIBC_PREREQ(2, 35)
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/user.h>
#define KLI_TRACED 1
#endif
#endif

static const struct kl_host *host;
static struct kl_cpu_stack *stacks; /* of all processors, shared with children */
static size_t stacks_bytes;

static int open_stacks(void **state)
{
    (void)state;
    host = kl_linux_host();
    stacks_bytes = sizeof(*stacks) * KL_CPU_STACKS * host->ncpus;
    stacks = mmap(NULL, stacks_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return stacks == MAP_FAILED ? -1 : 0;
}

static int close_stacks(void **state)
{
    (void)state;
    return munmap(stacks, stacks_bytes);
}

/* Every stack holds the numbers 100 to 100 + n - 1. */
static void fill(uint32_t limit, uint32_t n)
{
    if (!host->cpu_pop)
        skip();
    memset(stacks, 0xff, stacks_bytes);
    for (unsigned i = 0; i < KL_CPU_STACKS * host->ncpus; i++) {
        stacks[i].limit = limit;
        stacks[i].n = n;
        for (uint32_t e = 0; e < n; e++)
            stacks[i].entry[e] = 100 + e;
    }
}

static uint32_t pop(unsigned kind)
{
    return host->cpu_pop(host->ctx, stacks + kind, host->ncpus);
}

static bool push(unsigned kind, uint32_t number)
{
    return host->cpu_push(host->ctx, stacks + kind, host->ncpus, number);
}

/* The entries of one kind, of all processors. */
static uint32_t entries(unsigned kind)
{
    uint32_t n = 0;

    for (unsigned cpu = 0; cpu < host->ncpus; cpu++)
        n += stacks[cpu * KL_CPU_STACKS + kind].n;
    return n;
}

static void come_as_a_set(void **state)
{
    (void)state;
    assert_int_equal(!host->cpu_pop, !host->cpu_push);
    assert_int_equal(!host->cpu_pop, !host->cpu_fence);
    if (!host->cpu_fence) {
        skip();
        return;
    }
    for (unsigned cpu = 0; cpu < host->ncpus; cpu++)
        assert_true(host->cpu_fence(host->ctx, cpu));
}

static void take_the_stack_of_their_kind(void **state)
{
    (void)state;
    fill(KL_CPU_ENTRIES, 3);
    assert_int_equal(pop(1), 102);
    assert_int_equal(entries(0), 3 * host->ncpus);
    assert_int_equal(entries(1), 3 * host->ncpus - 1);
    assert_true(push(0, 7));
    assert_int_equal(entries(0), 3 * host->ncpus + 1);
    assert_int_equal(entries(1), 3 * host->ncpus - 1);
}

static void refuse_when_empty_full_or_closed(void **state)
{
    (void)state;
    fill(KL_CPU_ENTRIES, 0);
    assert_int_equal(pop(0), KL_CPU_NONE);
    assert_int_equal(entries(0), 0);
    fill(KL_CPU_ENTRIES, KL_CPU_ENTRIES);
    assert_false(push(0, 7));
    assert_int_equal(entries(0), KL_CPU_ENTRIES * host->ncpus);
    fill(0, 3);
    assert_int_equal(pop(0), KL_CPU_NONE);
    assert_false(push(0, 7));
    assert_int_equal(entries(0), 3 * host->ncpus);
}

static void know_no_processor_beyond_the_last(void **state)
{
    (void)state;
    fill(KL_CPU_ENTRIES, 3);
    assert_int_equal(host->cpu_pop(host->ctx, stacks, 0), KL_CPU_NONE);
    assert_false(host->cpu_push(host->ctx, stacks, 0, 7));
    assert_int_equal(entries(0), 3 * host->ncpus);
}

#ifdef KLI_TRACED
/* A child makes one call, `call`, of the sequence `at`; its parent holds it up. */
struct subject {
    bool (*call)(void);
    uintptr_t at;
    int by; /* what it does to n */
};

enum { MOST = 256, NEAR = 512, TRIES = 4, ENOUGH = 9, CALLS = 1000 };

static pid_t begin(const struct subject *s, bool (*prepare)(void))
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0 || (prepare && !prepare()))
            _exit(2);
        __asm__ volatile("int3"); /* the parent takes over */
        _exit(s->call());
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSTOPPED(status) ? child : 0;
}

/* Lets it go on; its status when it has stopped or ended. */
static int go_on(pid_t child, enum __ptrace_request how)
{
    int status;

    assert_int_equal(ptrace(how, child, NULL, NULL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static struct user_regs_struct registers(pid_t child)
{
    struct user_regs_struct regs;

    assert_int_equal(ptrace(PTRACE_GETREGS, child, NULL, &regs), 0);
    return regs;
}

static struct rseq *area(void)
{
    return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

/* In the child: the kernel has nothing to do with its sequences any more, so that
 * they can be stepped through. */
static bool leave_rseq(void)
{
    if (syscall(SYS_rseq, area(), sizeof(*area()), RSEQ_FLAG_UNREGISTER, RSEQ_SIG) != 0)
        return false;
    area()->cpu_id = 0;
    return true;
}

/* The instructions that the call runs through: the sequence is from the one after
 * the area got a descriptor to the one that changes n. */
struct trace {
    unsigned n, first, last;
    uintptr_t address[MOST];
};

static bool follow(const struct subject *s, struct trace *t)
{
    pid_t child = begin(s, leave_rseq);
    uint32_t before = entries(0);
    bool armed = false, changed = false;

    *t = (struct trace){0};
    if (child == 0)
        return false;
    while (WIFSTOPPED(go_on(child, PTRACE_SINGLESTEP))) {
        uintptr_t ip = (uintptr_t)registers(child).rip;

        if (!changed && entries(0) != before) {
            changed = true;
            t->last = t->n - 1; /* the one just made */
        }
        if (!armed && ptrace(PTRACE_PEEKDATA, child, &area()->rseq_cs, NULL) != 0) {
            armed = true;
            t->first = t->n; /* the one that comes */
        }
        if (ip - s->at < NEAR && t->n < MOST)
            t->address[t->n++] = ip;
    }
    assert_true(armed && changed);
    return true;
}

static void poke(pid_t child, uintptr_t address, long word)
{
    assert_int_equal(ptrace(PTRACE_POKETEXT, child, (void *)address, (void *)word), 0);
}

/* Stops it `most` times at the address; a stop takes the processor away, and so
 * aborts a sequence that is under way.  How often it came by, and what it said. */
static unsigned stop_at(const struct subject *s, uintptr_t address, unsigned most, bool *done)
{
    pid_t child = begin(s, NULL);
    long word = ptrace(PTRACE_PEEKTEXT, child, (void *)address, NULL);
    unsigned hits = 0;
    int status;

    poke(child, address, (word & ~0xffL) | 0xcc);
    while (status = go_on(child, PTRACE_CONT), WIFSTOPPED(status)) {
        struct user_regs_struct regs = registers(child);

        assert_int_equal(regs.rip, address + 1);
        regs.rip = address;
        assert_int_equal(ptrace(PTRACE_SETREGS, child, NULL, &regs), 0);
        if (++hits == most)
            poke(child, address, word);
    }
    assert_true(WIFEXITED(status));
    *done = WEXITSTATUS(status);
    return hits;
}

/* One call, stopped so; false: it gave up. */
static bool call_stopped(const struct subject *s, uintptr_t address, unsigned most, unsigned *hits)
{
    bool done;

    fill(KL_CPU_ENTRIES, 3);
    *hits = stop_at(s, address, most, &done);
    assert_int_equal(entries(0), 3 * (int)host->ncpus + (done ? s->by : 0));
    return done;
}

/* An instruction outside of the sequence stops every time that it is tried, one
 * inside of it once a try.  The system, too, may take the processor away, and with it
 * a try: then it is called again. */
static bool is_inside(const struct subject *s, uintptr_t address)
{
    unsigned hits, calls = 0;
    bool done;

    do {
        assert_true(calls++ < CALLS);
        done = call_stopped(s, address, ENOUGH, &hits);
    } while (hits != (done ? ENOUGH : TRIES));
    if (done)
        return false;
    for (unsigned most = 1; most < TRIES; most++) {
        for (calls = 0; !call_stopped(s, address, most, &hits); calls++)
            assert_true(calls < CALLS);
        assert_int_equal(hits, most);
    }
    return true;
}

static void is_whole_or_nothing(const struct subject *s)
{
    struct trace t;

    fill(KL_CPU_ENTRIES, 3);
    if (!follow(s, &t))
        skip();
    assert_true(t.first < t.last);
    for (unsigned i = 0; i < t.n; i++)
        assert_int_equal(is_inside(s, t.address[i]), i >= t.first && i <= t.last);
}

static bool pop_one(void)
{
    return pop(0) == 102;
}

static bool push_one(void)
{
    return push(0, 7);
}

static void survive_interruption_anywhere(void **state)
{
    (void)state;
    if (!host->cpu_pop) {
        skip();
        return;
    }
    is_whole_or_nothing(&(struct subject){pop_one, (uintptr_t)host->cpu_pop, -1});
    is_whole_or_nothing(&(struct subject){push_one, (uintptr_t)host->cpu_push, 1});
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(come_as_a_set),
        cmocka_unit_test(take_the_stack_of_their_kind),
        cmocka_unit_test(refuse_when_empty_full_or_closed),
        cmocka_unit_test(know_no_processor_beyond_the_last),
#ifdef KLI_TRACED
        cmocka_unit_test(survive_interruption_anywhere),
#endif
    };

    return cmocka_run_group_tests(tests, open_stacks, close_stacks);
}
