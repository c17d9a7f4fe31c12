// SPDX-License-Identifier: Apache-2.0
/* densitybench - how much memory a corpus takes, compressed; for bench/density.sh.
 *
 * usage: densitybench klotski|fixed|zram fresh CORPUS
 *        densitybench klotski|fixed|zram discard CORPUS
 *        densitybench klotski|fixed|zram change CORPUS OTHER
 *
 * Writes the corpus to a store (lz4, blocks of 4 KiB; fixed: one that learns nothing of its
 * sizes) or to the kernel's zram.  Then discards a random half of the blocks, or overwrites
 * it with the pages of OTHER.  Waits until the background work has been quiet for a second
 * (QUIET_MS), as an event loop does; then asks for compaction.  Prints a line for each of
 * the stages (fresh, quiet, compacted):
 *
 *   stage frames payload metadata machine
 *     frames    bytes of the frames that hold the data: the kernel's mem_used_total
 *     payload   the sum of the sizes of what is compressed; pages that don't compress
 *               count 4096, pages of one word nothing: the kernel's compr_data_size
 *     metadata  all that was taken beside them: zone, pool, store, contexts.  zram: an
 *               estimate (zram.c)
 *     machine   what the system says the memory file holds; zram: 0
 * and last, of a store, what it learned:
 *   learned tables saving moved
 *     tables    1: it has classes that it learned
 *     saving    bytes that these were expected to save
 *     moved     bytes that object compaction moved in classes that are no more used
 *
 * The zone is made for the data, as if somebody had set a limit: the payload and 1/16
 * (change: 1.5 times what both corpora need) and 4 MiB.  Its metadata goes by that size.
 */
#include "kit.h"
#include "zram.h"

#include "klotski/klotski.h"

#include <errno.h>
#include <inttypes.h>
#include <lz4.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 64, SPARE = 4 << 20 };

static struct corpus corpus, other;
static bool only_fresh, fixed_classes;
static uint32_t *half; /* the blocks that change are the first half of it */

/* ---- ours --------------------------------------------------------------- */

static struct arena arena;
static struct kl_store *store;

/* The corpus's payload at about what the store makes of it. */
static uint64_t payload_of(const struct corpus *of)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < of->pages; i++) {
        char out[LZ4_COMPRESSBOUND(PAGE)];
        int n = LZ4_compress_default((const char *)corpus_page(of, i), out, PAGE, sizeof(out));

        if (!same_filled(corpus_page(of, i)))
            sum += n < PAGE ? (unsigned)n : PAGE;
    }
    return sum;
}

static void show(const char *stage)
{
    struct kl_store_stats s = {.size = sizeof(s)};
    struct kl_zone_stats z = {.size = sizeof(z)};

    kl_store_get_stats(store, &s);
    kl_zone_get_stats(arena.zone, &z);
    printf("%s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", stage, s.frame_bytes,
           s.payload_bytes, s.metadata_bytes + z.metadata_bytes,
           kl_linux_backing_resident(arena.backing));
}

static void show_learned(void)
{
    struct kl_zs_stats s = {.size = sizeof(s)};

    kl_zs_get_stats(kl_store_zs(store), &s);
    printf("learned %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", s.learned, s.learned_saving_bytes,
           s.learned_moved_bytes);
}

static void compact(void)
{
    int64_t freed;

    do
        freed = kl_store_compact(store, 0);
    while (freed > 0);
    must(freed < 0 ? (int)freed : 0, "compaction of objects");
    arena_compact(&arena);
}

static void ours_later(void)
{
    for (uint32_t i = 0; i < corpus.pages / 2; i++) {
        if (other.pages)
            must(kl_store_write(store, half[i], 0, corpus_page(&other, i % other.pages), PAGE),
                 "write");
        else
            must(kl_store_discard(store, half[i], 0, PAGE), "discard");
    }
    arena_settle(&arena);
    show("quiet");
    compact();
    show("compacted");
}

static void ours(void)
{
    struct kl_codec codec;
    struct kl_store_config config = {
        .size = sizeof(config), .blocks = corpus.pages, .block_bytes = PAGE, .codec = &codec};
    uint64_t payload = payload_of(&corpus);

    config.flags = fixed_classes ? KL_STORE_FIXED_CLASSES : 0;
    arena = arena_open(
        SPARE + (other.pages ? (payload + payload_of(&other)) * 3 / 2 : payload + payload / 16));
    must(kl_linux_codec("lz4", 0, &codec), "lz4");
    must(kl_store_create(arena.zone, &config, &store), "store");
    for (uint32_t i = 0; i < corpus.pages; i++)
        must(kl_store_write(store, i, 0, corpus_page(&corpus, i), PAGE), "write");
    show("fresh");
    if (!only_fresh)
        ours_later();
    show_learned();
    must(kl_store_destroy(store), "store");
    arena_close(&arena);
}

/* ---- the kernel's ------------------------------------------------------- */

static void show_zram(const char *stage)
{
    struct zram_stat s = zram_stat();

    printf("%s %" PRIu64 " %" PRIu64 " %" PRIu64 " 0\n", stage, s.used, s.payload, s.metadata);
}

static void put(int disk, uint64_t at, const unsigned char *from, uint64_t pages)
{
    if (pwrite(disk, from, pages * PAGE, (off_t)(at * PAGE)) != (ssize_t)(pages * PAGE))
        die("/dev/zram0: %s", strerror(errno));
}

static void theirs_later(int disk)
{
    for (uint32_t i = 0; i < corpus.pages / 2; i++) {
        if (other.pages)
            put(disk, half[i], corpus_page(&other, i % other.pages), 1);
        else
            zram_discard(half[i], 1);
    }
    usleep((useconds_t)(quiet_ns() / 1000));
    show_zram("quiet");
    zram_compact();
    show_zram("compacted");
}

static int theirs(void)
{
    const char *why;
    int disk = zram_open((uint64_t)corpus.pages * PAGE, &why);

    if (disk < 0) {
        fprintf(stderr, "%s\n", why);
        return 77;
    }
    for (uint32_t i = 0; i < corpus.pages; i += CHUNK)
        put(disk, i, corpus_page(&corpus, i), corpus.pages - i < CHUNK ? corpus.pages - i : CHUNK);
    show_zram("fresh");
    if (!only_fresh)
        theirs_later(disk);
    zram_close();
    return 0;
}

static int usage(void)
{
    fputs("usage: densitybench klotski|fixed|zram fresh|discard CORPUS\n"
          "       densitybench klotski|fixed|zram change CORPUS OTHER\n",
          stderr);
    return 2;
}

static bool is_side(const char *name)
{
    return strcmp(name, "klotski") == 0 || strcmp(name, "fixed") == 0 || strcmp(name, "zram") == 0;
}

int main(int argc, char **argv)
{
    bool change = argc > 2 && strcmp(argv[2], "change") == 0;
    int status = 0;

    if (argc != 4 + change || !is_side(argv[1]))
        return usage();
    fixed_classes = strcmp(argv[1], "fixed") == 0;
    only_fresh = strcmp(argv[2], "fresh") == 0;
    if (!change && !only_fresh && strcmp(argv[2], "discard") != 0)
        return usage();
    corpus = corpus_map(argv[3]);
    if (change)
        other = corpus_map(argv[4]);
    half = shuffled(corpus.pages, 1);
    if (strcmp(argv[1], "zram") != 0)
        ours();
    else
        status = theirs();
    free(half);
    return status;
}
