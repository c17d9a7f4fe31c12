// SPDX-License-Identifier: Apache-2.0
/* hugepages.c - the system's figures of its pool of 2 MiB huge pages.
 *
 * Read afresh each time: others use the pool too.
 */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/"

/* The number in a file, or -1. */
static int64_t read_number(const char *path)
{
    FILE *file = fopen(path, "re");
    char text[32];
    char *end;
    long long value = -1;

    if (!file)
        return -1;
    if (fgets(text, sizeof(text), file)) {
        errno = 0;
        value = strtoll(text, &end, 10);
        if (errno || end == text || value < 0)
            value = -1;
    }
    fclose(file);
    return value;
}

int64_t kl_linux_hugepages_free(void)
{
    return read_number(POOL "free_hugepages");
}

int64_t kl_linux_hugepages_total(void)
{
    return read_number(POOL "nr_hugepages");
}

int64_t kli_hugepages_unreserved(void)
{
    int64_t free = kl_linux_hugepages_free();
    int64_t reserved = read_number(POOL "resv_hugepages");

    if (free < 0 || reserved < 0)
        return -1;
    return reserved < free ? free - reserved : 0;
}
