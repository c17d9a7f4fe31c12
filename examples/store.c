// SPDX-License-Identifier: Apache-2.0
/* Numbered compressed blocks: a store of 64 MiB in a zone of 16 MiB. */
#include <klotski/klotski.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 16384, BLOCK = 4096 };

static void must(int err, const char *what)
{
    if (err == 0)
        return;
    fprintf(stderr, "%s: %s\n", what, kl_err_text(err));
    exit(1);
}

/* Something that compresses, and says which block it is. */
static void fill(char *block, unsigned i)
{
    char line[48];

    for (unsigned at = 0; at < BLOCK; at += 32) {
        snprintf(line, sizeof(line), "block %10u, line %10u ..", i, i % 4 ? at / 256 : at / 32);
        memcpy(block + at, line, 32);
    }
}

int main(void)
{
    struct kl_linux_backing_config memory = {
        .size = sizeof(memory), .kind = KL_LINUX_MEMFD, .bytes = 16u << 20};
    struct kl_zone_config config = {.size = sizeof(config), .host = kl_linux_host()};
    struct kl_codec lz4;
    struct kl_store_config blocks = {
        .size = sizeof(blocks), .blocks = BLOCKS, .block_bytes = BLOCK, .codec = &lz4};
    struct kl_store_stats s = {.size = sizeof(s)};
    struct kl_linux_backing *backing;
    struct kl_zone *zone;
    struct kl_store *store;
    static char plain[BLOCK], back[BLOCK];

    must(kl_linux_backing_create(&memory, &backing), "memory");
    config.backing = kl_linux_backing_get(backing);
    must(kl_zone_create(&config, &zone), "zone");
    must(kl_linux_codec("lz4", 0, &lz4), "compressor");
    must(kl_store_create(zone, &blocks, &store), "store");
    for (unsigned i = 0; i < BLOCKS; i++) {
        fill(plain, i);
        must(kl_store_write(store, i, 0, plain, BLOCK), "write");
    }
    must(kl_store_write(store, 7, 100, "Klotski", 7), "write of a part");
    for (unsigned i = 0; i < BLOCKS; i++) {
        fill(plain, i);
        if (i == 7)
            memcpy(plain + 100, "Klotski", 7);
        must(kl_store_read(store, i, 0, back, BLOCK), "read");
        if (memcmp(plain, back, BLOCK) != 0)
            return 1;
    }
    kl_store_get_stats(store, &s);
    printf("%d MiB of blocks: %llu KiB compressed, in frames of %llu KiB\n",
           BLOCKS / 1024 * BLOCK / 1024, (unsigned long long)s.payload_bytes / 1024,
           (unsigned long long)s.frame_bytes / 1024);
    for (unsigned i = 0; i < BLOCKS; i += 2)
        must(kl_store_discard(store, i, 0, BLOCK), "discard");
    int64_t freed = kl_store_compact(store, 0);
    kl_store_get_stats(store, &s);
    printf("half of them discarded: %llu KiB, in frames of %llu KiB\n",
           (unsigned long long)s.payload_bytes / 1024, (unsigned long long)s.frame_bytes / 1024);
    if (freed < 0 || kl_store_kind(store, 0) != KL_STORE_HOLE)
        return 1;
    must(kl_store_destroy(store), "destroy");
    must(kl_zone_destroy(zone), "zone's end");
    kl_linux_backing_destroy(backing);
    return 0;
}
