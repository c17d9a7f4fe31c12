// SPDX-License-Identifier: Apache-2.0
/* numa.c - memory of one NUMA node, by libnuma.
 *
 * Two things say where a page of a memory file comes from: the policy of the mapping
 * (mbind), which a memfd takes over for the file, and that of the thread that
 * allocates (fallocate of huge pages knows no other).  So the mapping is bound once,
 * and whoever populates is bound while it does so.  Both are MPOL_BIND: no page of
 * another node serves instead.
 *
 * `numa` is everywhere the node's number + 1; 0 is any node, and nothing is done.
 *
 * Thread safety: everything may run together; a policy is the calling thread's.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "internal.h"

#ifndef KL_HAVE_NUMA
#define KL_HAVE_NUMA 0
#endif

#if KL_HAVE_NUMA

#include <errno.h>
#include <numa.h>
#include <numaif.h>

/* The kernel takes one bit less than it is told. */
#define MAX_NODE (KLI_NUMA_NODES + 1)

struct mask {
    unsigned long word[KLI_NUMA_WORDS];
};

static struct mask mask_of(unsigned numa)
{
    enum { BITS = 8 * sizeof(unsigned long) };
    struct mask mask = {{0}};

    mask.word[(numa - 1) / BITS] = 1ul << ((numa - 1) % BITS);
    return mask;
}

int kli_numa_check(unsigned numa)
{
    if (numa == 0)
        return 0;
    if (numa_available() < 0)
        return -KL_ENOTSUP;
    return numa <= KLI_NUMA_NODES && numa_bitmask_isbitset(numa_all_nodes_ptr, numa - 1)
               ? 0
               : -KL_EINVAL;
}

int kli_numa_bind(void *base, uint64_t bytes, unsigned numa)
{
    struct mask mask;

    if (numa == 0)
        return 0;
    mask = mask_of(numa);
    return mbind(base, (unsigned long)bytes, MPOL_BIND, mask.word, MAX_NODE, 0) == 0
               ? 0
               : kli_linux_error(errno);
}

int kli_numa_enter(unsigned numa, struct kli_numa_policy *before)
{
    struct mask mask;

    if (numa == 0)
        return 0;
    mask = mask_of(numa);
    if (get_mempolicy(&before->mode, before->mask, MAX_NODE, NULL, 0) != 0 ||
        set_mempolicy(MPOL_BIND, mask.word, MAX_NODE) != 0)
        return kli_linux_error(errno);
    return 0;
}

void kli_numa_leave(unsigned numa, const struct kli_numa_policy *before)
{
    if (numa != 0)
        (void)set_mempolicy(before->mode, before->mask, MAX_NODE);
}

#else

int kli_numa_check(unsigned numa)
{
    return numa == 0 ? 0 : -KL_ENOTSUP;
}

int kli_numa_bind(void *base, uint64_t bytes, unsigned numa)
{
    (void)base, (void)bytes;
    return kli_numa_check(numa);
}

int kli_numa_enter(unsigned numa, struct kli_numa_policy *before)
{
    (void)before;
    return kli_numa_check(numa);
}

void kli_numa_leave(unsigned numa, const struct kli_numa_policy *before)
{
    (void)numa, (void)before;
}

#endif
