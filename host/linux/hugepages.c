// SPDX-License-Identifier: Apache-2.0
/* hugepages.c - the system's figures of its pools of huge pages, one a size.
 *
 * Read afresh each time: others use the pools too.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "internal.h"

#include <stdio.h>

/* The figure `name` of the pool of that kind; numa as in numa.c. */
static int64_t figure(enum kl_linux_kind kind, unsigned numa, const char *name)
{
    unsigned long long kib = (unsigned long long)(kli_huge_bytes(kind) >> 10);
    char folder[128];

    if (kib == 0)
        return -1;
    if (numa == 0)
        snprintf(folder, sizeof(folder), "/sys/kernel/mm/hugepages/hugepages-%llukB", kib);
    else
        snprintf(folder, sizeof(folder),
                 "/sys/devices/system/node/node%u/hugepages/hugepages-%llukB", numa - 1, kib);
    return kli_read_number(folder, name, "");
}

int64_t kl_linux_hugepages_free_of(enum kl_linux_kind kind, unsigned numa)
{
    return figure(kind, numa, "free_hugepages");
}

int64_t kl_linux_hugepages_total_of(enum kl_linux_kind kind, unsigned numa)
{
    return figure(kind, numa, "nr_hugepages");
}

int64_t kl_linux_hugepages_free(void)
{
    return kl_linux_hugepages_free_of(KL_LINUX_HUGETLB, 0);
}

int64_t kl_linux_hugepages_total(void)
{
    return kl_linux_hugepages_total_of(KL_LINUX_HUGETLB, 0);
}

/* Reservations are counted for the machine only. */
int64_t kli_hugepages_unreserved(enum kl_linux_kind kind, unsigned numa)
{
    int64_t free = kl_linux_hugepages_free_of(kind, 0);
    int64_t reserved = figure(kind, 0, "resv_hugepages");
    int64_t here = kl_linux_hugepages_free_of(kind, numa);

    if (free < 0 || reserved < 0 || here < 0)
        return -1;
    free = reserved < free ? free - reserved : 0;
    return here < free ? here : free;
}
