// SPDX-License-Identifier: Apache-2.0
/* Packed states: a word changes only by an edge, a pure function of the word.
 *
 * An edge says what the word becomes, or that it may not be taken now.  The one
 * compare-and-swap helper applies it.  A model checker can run the same edges.
 */
#ifndef KLI_BASE_WORD_H
#define KLI_BASE_WORD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef _Atomic uint64_t kli_word;

struct kli_step {
    uint64_t next;
    bool ok;
};

typedef struct kli_step kli_edge(uint64_t word, uint64_t arg);

#define KLI_REFUSED    ((struct kli_step){0, false})
#define KLI_STEP(word) ((struct kli_step){(word), true})

/* Applies the edge, and says what step it was.  *seen is the word before the step,
 * or the one that refused it. */
static inline struct kli_step kli_take(kli_word *word, kli_edge *edge, uint64_t arg, uint64_t *seen)
{
    uint64_t old = atomic_load_explicit(word, memory_order_relaxed);
    struct kli_step step;

    do {
        step = edge(old, arg);
        if (!step.ok)
            break;
    } while (!atomic_compare_exchange_weak_explicit(word, &old, step.next, memory_order_seq_cst,
                                                    memory_order_relaxed));
    *seen = old;
    return step;
}

/* The same; false when it was refused.  seen may be NULL. */
static inline bool kli_apply(kli_word *word, kli_edge *edge, uint64_t arg, uint64_t *seen)
{
    uint64_t old;
    bool ok = kli_take(word, edge, arg, &old).ok;

    if (seen)
        *seen = old;
    return ok;
}

/* The same by the only one who may change the word now; others may look at it. */
static inline bool kli_apply_alone(kli_word *word, kli_edge *edge, uint64_t arg)
{
    struct kli_step step = edge(atomic_load_explicit(word, memory_order_relaxed), arg);

    if (step.ok)
        atomic_store_explicit(word, step.next, memory_order_release);
    return step.ok;
}

static inline uint64_t kli_field(uint64_t word, unsigned shift, unsigned bits)
{
    return (word >> shift) & ((UINT64_C(1) << bits) - 1);
}

/* For sequences that are read without a lock.  A reader: the sequence (acquire), what it
 * guards, kli_read_fence, the sequence again.  A writer: the sequence, kli_write_fence,
 * what it guards.  kli_full_fence: after a read-modify-write, before a load.
 * ThreadSanitizer knows no fences; it runs on machines that keep this order anyway. */
#if defined(__SANITIZE_THREAD__)
#define KLI_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KLI_TSAN 1
#endif
#endif

static inline void kli_read_fence(void)
{
#ifdef KLI_TSAN
    atomic_signal_fence(memory_order_acquire);
#else
    atomic_thread_fence(memory_order_acquire);
#endif
}

static inline void kli_write_fence(void)
{
#ifdef KLI_TSAN
    atomic_signal_fence(memory_order_release);
#else
    atomic_thread_fence(memory_order_release);
#endif
}

static inline void kli_full_fence(void)
{
#if defined(KLI_TSAN) || defined(__x86_64__) || defined(__i386__)
    atomic_signal_fence(memory_order_seq_cst);
#else
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

#endif
