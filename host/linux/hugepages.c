// SPDX-License-Identifier: Apache-2.0
/* hugepages.c - the system's figures of its pool of 2 MiB huge pages.
 *
 * Read afresh each time: others use the pool too.
 */
#include "internal.h"

#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB"

int64_t kl_linux_hugepages_free(void)
{
    return kli_read_number(POOL, "free_hugepages", "");
}

int64_t kl_linux_hugepages_total(void)
{
    return kli_read_number(POOL, "nr_hugepages", "");
}

int64_t kli_hugepages_unreserved(void)
{
    int64_t free = kl_linux_hugepages_free();
    int64_t reserved = kli_read_number(POOL, "resv_hugepages", "");

    if (free < 0 || reserved < 0)
        return -1;
    return reserved < free ? free - reserved : 0;
}
