// SPDX-License-Identifier: Apache-2.0
#include "support/hugepool.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#define POOLS "/sys/kernel/mm/hugepages"

static int lock = -1;
static enum kl_linux_kind kind;
static int64_t before = -1;

static void write_number(int64_t n)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof(path), POOLS "/hugepages-%ukB/nr_hugepages",
             kind == KL_LINUX_HUGETLB_1G ? 1048576u : 2048u);
    file = fopen(path, "we");
    if (!file)
        return;
    fprintf(file, "%lld\n", (long long)n);
    fclose(file);
}

bool hugepool_reserve(enum kl_linux_kind of, unsigned n)
{
    int64_t bytes = (int64_t)n << (of == KL_LINUX_HUGETLB_1G ? 30 : 21), free;

    kind = of;
    lock = open(POOLS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock >= 0)
        flock(lock, LOCK_EX);
    before = kl_linux_hugepages_total_of(kind, 0);
    free = kl_linux_hugepages_free_of(kind, 0);
    if (before >= 0 && free < n && kl_linux_memory_available() > 4 * bytes)
        write_number(before + n - free);
    if (kl_linux_hugepages_free_of(kind, 0) >= n)
        return true;
    print_message("# skipped: %u huge pages of %lld MiB can't be reserved here\n", n,
                  (long long)(bytes / n >> 20));
    return false;
}

void hugepool_restore(void)
{
    if (before >= 0 && kl_linux_hugepages_total_of(kind, 0) != before)
        write_number(before);
    before = -1;
    if (lock >= 0)
        close(lock);
    lock = -1;
}
