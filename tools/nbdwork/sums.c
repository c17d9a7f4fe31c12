// SPDX-License-Identifier: Apache-2.0
/* sums.c - checksums of a disk's blocks, kept in a file. */
#include "nbdwork.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

struct header {
    char magic[8];
    uint64_t block_bytes;
    uint64_t blocks;
};

static const char magic[8] = "NBDSUMS1";

uint64_t sum_of(const void *data, size_t bytes)
{
    uint64_t sum = XXH3_64bits(data, bytes);

    return sum == 0 ? 1 : sum;
}

bool sums_create(struct sums *sums, uint32_t block_bytes, uint64_t blocks)
{
    *sums = (struct sums){.block_bytes = block_bytes, .blocks = blocks};
    sums->sum = calloc(blocks + 1, sizeof(*sums->sum));
    if (sums->sum == NULL)
        complain("no memory for %ju checksums", (uintmax_t)blocks);
    return sums->sum != NULL;
}

void sums_free(struct sums *sums)
{
    free(sums->sum);
    sums->sum = NULL;
}

bool sums_read(struct sums *sums, const char *path)
{
    struct header header;
    FILE *file = fopen(path, "rb");

    sums->sum = NULL;
    if (file == NULL) {
        complain("%s: %s", path, strerror(errno));
        return false;
    }
    bool good = fread(&header, sizeof(header), 1, file) == 1 &&
                memcmp(header.magic, magic, sizeof(magic)) == 0 && header.block_bytes >= 512 &&
                header.block_bytes <= 1 << 20 && header.blocks < (UINT64_C(1) << 32);
    if (good)
        good = sums_create(sums, (uint32_t)header.block_bytes, header.blocks) &&
               fread(sums->sum, sizeof(*sums->sum), sums->blocks, file) == sums->blocks;
    fclose(file);
    if (!good) {
        complain("%s is not a file of checksums", path);
        sums_free(sums);
    }
    return good;
}

bool sums_write(const struct sums *sums, const char *path)
{
    struct header header = {.block_bytes = sums->block_bytes, .blocks = sums->blocks};
    FILE *file = fopen(path, "wb");

    if (file == NULL) {
        complain("%s: %s", path, strerror(errno));
        return false;
    }
    memcpy(header.magic, magic, sizeof(magic));
    bool good = fwrite(&header, sizeof(header), 1, file) == 1 &&
                fwrite(sums->sum, sizeof(*sums->sum), sums->blocks, file) == sums->blocks;
    if (fclose(file) != 0 || !good) {
        complain("%s: %s", path, strerror(errno));
        return false;
    }
    return true;
}
