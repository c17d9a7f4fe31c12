// SPDX-License-Identifier: Apache-2.0
/* rseq.c - the per-CPU stacks of klotski/host.h by restartable sequences (rseq(2)),
 * without a lock and without an atomic instruction.
 *
 * A sequence is the code between two labels, named by a descriptor (struct rseq_cs).
 * The thread stores the descriptor's address into its rseq area, which the C
 * library has registered with the kernel, and runs the sequence.  If the kernel
 * takes the processor away from the thread inside of it (preemption, migration, a
 * signal, membarrier), it lets the thread go on at the descriptor's abort address.
 *
 * (Q1) The last instruction of a sequence, and no other, makes a change that
 *      anybody looks at: n.  push stores its entry before, beyond n.
 * (Q2) The processor's number, limit and n are read inside of the sequence, and
 *      limit before n: who sees the stack open again sees what the drainer left.
 * (Q3) The store of the descriptor's address is the instruction right before the
 *      sequence: from then on an interruption either finds the thread within it, or
 *      before the store.
 * (Q4) Afterwards the address is taken out of the rseq area: the kernel would read
 *      the descriptor at the next interruption, and the library may be unloaded by
 *      then.
 * (Q5) An aborted sequence is tried again a few times, not for ever: a debugger
 *      that steps through it aborts every time.
 *
 * Order.  A processor sees its own stores in program order, and the kernel orders
 * fully where it switches threads.  fence is membarrier(2) with
 * MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ for one processor: a full barrier here and
 * there, and an abort of what runs there; what does not run was aborted when it lost
 * the processor.  x86 keeps loads in order, and stores; nothing else is needed. (Q2)
 *
 * Where: x86-64 with glibc 2.35 or later and Linux 5.10 or later.  Anywhere else, or
 * if the C library was told not to register (glibc.pthread.rseq=0) or membarrier is
 * not to be had, the callbacks stay NULL.
 *
 * Thread safety: everything may run together.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "internal.h"

#if defined(__x86_64__) && defined(__LP64__) && defined(__GLIBC__)
#if __GLIBC_PREREQ(2, 35)
#define HAVE_SEQUENCES 1
#endif
#endif

#ifdef HAVE_SEQUENCES
#include <linux/membarrier.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TRIES = 4 };

_Static_assert(sizeof(struct kl_cpu_stack) == 128, "the sequences shift by 8");
_Static_assert(KL_CPU_STACKS == 2, "the sequences shift by 8");
_Static_assert(offsetof(struct kl_cpu_stack, limit) == 0, "the sequences know it");
_Static_assert(offsetof(struct kl_cpu_stack, n) == 4, "the sequences know it");
_Static_assert(offsetof(struct kl_cpu_stack, entry) == 8, "the sequences know it");
_Static_assert(offsetof(struct rseq, cpu_id) == 4, "the sequences know it");
_Static_assert(offsetof(struct rseq, rseq_cs) == 8, "the sequences know it");

/* Label 1: the descriptor; 2: first instruction; 3: past the last one; 4: abort. */
#define BEGIN                                                                                      \
    ".pushsection .data.rel.ro.kli_rseq, \"aw\", @progbits\n"                                      \
    ".balign 32\n"                                                                                 \
    "1:     .long   0, 0\n"                                                                        \
    "       .quad   2f, 3f - 2f, 4f\n"                                                             \
    ".popsection\n"                                                                                \
    "0:     leaq    1b(%%rip), %[at]\n"                                                            \
    "       movq    %[at], %%fs:8(%[rseq])\n" /* Q3 */                                             \
    "2:     movl    %%fs:4(%[rseq]), %k[at]\n"                                                     \
    "       cmpl    %[ncpus], %k[at]\n" /* a thread without registration has a huge one */         \
    "       jae     3f\n"                                                                          \
    "       shlq    $8, %[at]\n"                                                                   \
    "       addq    %[stack], %[at]\n"

/* The kernel wants the signature right before the abort address; here it is the
 * operand of an undefined instruction. */
#define END(reset)                                                                                 \
    "3:     movq    $0, %%fs:8(%[rseq])\n" /* Q4 */                                                \
    ".pushsection .text.unlikely.kli_rseq, \"ax\", @progbits\n"                                    \
    "       .byte   0x0f, 0xb9, 0x3d\n"                                                            \
    "       .long   %c[signature]\n"                                                               \
    "4:     " reset "\n"                                                                           \
    "       subl    $1, %[tries]\n"                                                                \
    "       jnz     0b\n" /* Q5 */                                                                 \
    "       jmp     3b\n"                                                                          \
    ".popsection\n"

static uint32_t pop(void *ctx, struct kl_cpu_stack *stack, unsigned ncpus)
{
    uint32_t number = KL_CPU_NONE, n, limit, tries = TRIES;
    uintptr_t at;

    (void)ctx;
    __asm__ volatile(BEGIN "       movl    (%[at]), %[limit]\n" /* Q2 */
                           "       movl    4(%[at]), %[n]\n"
                           "       subl    $1, %[n]\n"
                           "       cmpl    %[limit], %[n]\n"
                           "       jae     3f\n"
                           "       movl    8(%[at], %q[n], 4), %[number]\n"
                           "       movl    %[n], 4(%[at])\n" /* Q1 */
                     END("movl $-1, %[number]")
                     : [number] "+&r"(number), [n] "=&r"(n), [limit] "=&r"(limit), [at] "=&r"(at),
                       [tries] "+&r"(tries)
                     : [stack] "r"(stack), [ncpus] "r"(ncpus), [rseq] "r"(__rseq_offset),
                       [signature] "i"(RSEQ_SIG)
                     : "memory", "cc");
    return number;
}

static bool push(void *ctx, struct kl_cpu_stack *stack, unsigned ncpus, uint32_t number)
{
    uint32_t done = 0, n, limit, tries = TRIES;
    uintptr_t at;

    (void)ctx;
    __asm__ volatile(BEGIN "       movl    (%[at]), %[limit]\n" /* Q2 */
                           "       movl    4(%[at]), %[n]\n"
                           "       cmpl    %[limit], %[n]\n"
                           "       jae     3f\n"
                           "       movl    %[number], 8(%[at], %q[n], 4)\n"
                           "       addl    $1, %[n]\n"
                           "       movl    $1, %[done]\n"
                           "       movl    %[n], 4(%[at])\n" /* Q1 */
                     END("xorl %[done], %[done]")
                     : [done] "+&r"(done), [n] "=&r"(n), [limit] "=&r"(limit), [at] "=&r"(at),
                       [tries] "+&r"(tries)
                     : [stack] "r"(stack), [ncpus] "r"(ncpus), [rseq] "r"(__rseq_offset),
                       [number] "r"(number), [signature] "i"(RSEQ_SIG)
                     : "memory", "cc");
    return done;
}

static bool membarrier(int command, unsigned flags, unsigned cpu)
{
    return syscall(SYS_membarrier, command, flags, cpu) == 0;
}

static bool enlist(void)
{
    return membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ, 0, 0);
}

static bool abort_on(unsigned cpu)
{
    return membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, MEMBARRIER_CMD_FLAG_CPU, cpu);
}

static bool fence(void *ctx, unsigned cpu)
{
    (void)ctx;
    return abort_on(cpu) || (enlist() && abort_on(cpu));
}

void kli_rseq_offer(struct kl_host *host)
{
    if (__rseq_size == 0 || !enlist() || !abort_on(0))
        return;
    host->cpu_pop = pop;
    host->cpu_push = push;
    host->cpu_fence = fence;
}

#else

void kli_rseq_offer(struct kl_host *host)
{
    (void)host;
}

#endif
