// SPDX-License-Identifier: Apache-2.0
/* objectsbench io memfd|hugetlb MIB ROUNDS [SEED] | costs ROUNDS [SEED] - objects of a device
 * that works on them all the time; for bench/objects.sh.
 *
 * io: a zone of MIB is filled to 92 % with buffers of 4 KiB to 1 MiB, all registered with the
 * device, which reads and writes them (objects_device.c); then a random part goes until 60 %
 * are left.  A round does that again, asks for 64 MiB in one piece (a quarter of a zone of less
 * than 256 MiB), and then gives back as many blocks as there is memory free for, or as many of
 * these as will go.  What went is what the system says (st_blocks).  Three times with one
 * seed: the driver has hooks; it pins instead; it pins and nothing is packed for that.
 */
#include "objects.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MIB = 1 << 20 };
#define FULL  0.92
#define LEFT  0.60
#define QUIET UINT64_C(20000000) /* ns of the device's, in which nothing moves */

struct figures {
    unsigned asked, done;      /* contiguous */
    uint64_t possible, given;  /* blocks */
    uint64_t wanted, returned; /* bytes: of what the library says it gave, and the system */
    uint64_t moved, batches, wrong, late;
    struct kl_report contig, give; /* of the last ones that failed */
};

/* What the device has done, and in how much of its thread's CPU time, of which waiting is a
 * part: so others at work on the machine count for little. */
struct meter {
    uint64_t ns, bytes;
};

struct bench {
    struct kl_linux_backing *backing;
    struct kl_zone *zone;
    kl_owner_id owner; /* of contiguous memory */
    uint32_t contig;   /* frames */
    struct device *device;
    struct meter quiet, moving; /* sums */
    struct figures f;
};

/* ---- how fast the device is ---- */

static struct meter read_meter(const struct device *d)
{
    struct timespec t;
    clockid_t clock;

    if (pthread_getcpuclockid(d->thread, &clock) != 0 || clock_gettime(clock, &t) != 0)
        die("no clock");
    return (struct meter){(uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec,
                          atomic_load(&d->bytes)};
}

static void add_since(const struct device *d, struct meter then, struct meter *sum)
{
    struct meter now = read_meter(d);

    sum->ns += now.ns - then.ns;
    sum->bytes += now.bytes - then.bytes;
}

static void be_quiet(struct bench *b)
{
    struct meter then = read_meter(b->device);

    while (read_meter(b->device).ns - then.ns < QUIET)
        usleep(1000);
    add_since(b->device, then, &b->quiet);
}

static double speed(struct meter sum)
{
    return sum.ns ? (double)sum.bytes / (double)sum.ns : 0;
}

/* ---- a round ---- */

static void contiguous(struct bench *b)
{
    struct kl_report report = {.size = sizeof(report)};
    kl_pfn first;

    b->f.asked++;
    if (kl_contig_alloc(b->zone, b->owner, b->contig, 1, KL_SYNC, &first, &report) != 0) {
        b->f.contig = report;
        return;
    }
    b->f.done++;
    must(kl_contig_free(b->zone, b->owner, first, b->contig), "range's end");
}

/* All that is possible; or as much of that as goes. */
static uint32_t give(struct bench *b, uint32_t possible)
{
    for (uint32_t n = possible; n > 0; n--) {
        struct kl_report report = {.size = sizeof(report)};

        if (kl_zone_give_back(b->zone, n, KL_SYNC, &report) == 0)
            return n;
        b->f.give = report;
    }
    return 0;
}

static void give_back(struct bench *b)
{
    uint64_t block = kl_zone_block_bytes(b->zone);
    uint64_t before = kl_linux_backing_resident(b->backing);
    struct kl_zone_stats s = {.size = sizeof(s)};
    uint32_t given;

    kl_zone_get_stats(b->zone, &s);
    b->f.possible += s.free_frames / (block / PAGE);
    given = give(b, (uint32_t)(s.free_frames / (block / PAGE)));
    b->f.given += given;
    b->f.wanted += given * block;
    b->f.returned += before - kl_linux_backing_resident(b->backing);
    if (given)
        must(kl_zone_lend(b->zone, given), "lend");
}

/* Blocks that came back get their memory now: the next round finds no easy ones. */
static void populate(struct bench *b)
{
    unsigned order = 0;
    uint32_t n = 0, blocks = kl_zone_blocks(b->zone);
    kl_pfn *pfn = need(blocks * sizeof(*pfn));

    while ((size_t)PAGE << order < kl_zone_block_bytes(b->zone))
        order++;
    while (n < blocks &&
           kl_frame_alloc(b->zone, order, b->owner, KL_NO_MOVE | KL_NO_SHRINK, &pfn[n]) == 0)
        n++;
    while (n > 0)
        must(kl_frame_free(b->zone, b->owner, pfn[--n]), "free");
    free(pfn);
}

static void one_round(struct bench *b)
{
    struct meter then;

    buffers_churn(b->device, FULL, LEFT);
    be_quiet(b);
    then = read_meter(b->device);
    contiguous(b);
    give_back(b);
    add_since(b->device, then, &b->moving);
    populate(b);
}

/* ---- the zone ---- */

static void open_zone(struct bench *b, enum kl_linux_kind kind, uint64_t mib)
{
    const struct kl_linux_backing_config memory = {
        .size = sizeof(memory), .kind = kind, .bytes = mib * MIB};
    struct kl_zone_config config = {
        .size = sizeof(config), .host = kl_linux_host(), .flags = KL_ZONE_POPULATE};

    memset(b, 0, sizeof(*b));
    must(kl_linux_backing_create(&memory, &b->backing), "memory");
    config.backing = kl_linux_backing_get(b->backing);
    must(kl_zone_create(&config, &b->zone), "zone");
    must(kl_owner_register(b->zone, NULL, NULL, &b->owner), "owner");
    b->contig = (uint32_t)((mib < 256 ? mib / 4 : 64) * MIB / PAGE);
    b->device = need(sizeof(*b->device));
}

static void close_zone(struct bench *b)
{
    const char *what = "?";

    if (kl_zone_check(b->zone, &what) != 0)
        die("broken: %s", what);
    must(kl_owner_unregister(b->zone, b->owner), "owner's end");
    must(kl_zone_destroy(b->zone), "zone's end");
    kl_linux_backing_destroy(b->backing);
    free(b->device);
}

static void history(struct bench *b, enum keep keep, unsigned rounds, uint64_t seed)
{
    struct device *d = b->device;
    struct kl_shm_stats s = {.size = sizeof(s)};

    device_open(d, b->zone, keep, seed);
    device_start(d);
    for (unsigned i = 0; i < rounds; i++)
        one_round(b);
    kl_shm_get_stats(d->shm, &s);
    device_stop(d);
    device_close(d);
    b->f.moved = s.migrated;
    b->f.batches = s.batches;
    b->f.wrong = atomic_load(&d->wrong);
    b->f.late = d->late;
}

/* ---- what it prints ---- */

static const char *culprit(const struct kl_report *r, char text[160])
{
    if (r->culprit_kind == KL_IN_WAY_NOTHING)
        return "";
    snprintf(text, 160, "%s's object %" PRIx64 " %s: %s", r->culprit_name, r->culprit_object,
             kl_in_way_text(r->culprit_kind), r->culprit_why);
    return text;
}

static double part(uint64_t a, uint64_t of)
{
    return of ? (double)a / (double)of : 0;
}

static void print(const char *how, const struct bench *b)
{
    const struct figures *f = &b->f;
    char text[160];

    printf("  %-16s %7u of %-7u %7" PRIu64 " of %-7" PRIu64 " %6" PRIu64 " MiB %9" PRIu64
           " %8" PRIu64 " %6" PRIu64 " %5" PRIu64 "\n",
           how, f->done, f->asked, f->given, f->possible, f->returned / MIB, f->moved, f->batches,
           f->late, f->wrong);
    if (f->done < f->asked)
        printf("    in the way of the range: %s\n", culprit(&f->contig, text));
    if (f->given < f->possible)
        printf("    in the way of blocks: %s\n", culprit(&f->give, text));
}

static void ratios(const char *suffix, const struct bench *b)
{
    printf("RATIO objects.given_back_over_possible%s %.4f\n", suffix,
           part(b->f.returned, b->f.possible * kl_zone_block_bytes(b->zone)));
    printf("RATIO objects.contig_success%s %.4f\n", suffix, part(b->f.done, b->f.asked));
}

static void more_ratios(struct bench *b)
{
    printf("RATIO objects.throughput_while_moving %.3f\n", speed(b->moving) / speed(b->quiet));
    printf("RATIO objects.batches_per_frame %.4f\n", part(b->f.batches, b->f.moved));
    printf("RATIO objects.pages_wrong %" PRIu64 "\n", b->f.wrong);
}

static void io(enum kl_linux_kind kind, uint64_t mib, unsigned rounds, uint64_t seed)
{
    static const char *const how[] = {"with hooks", "pinned, packed", "pinned"};
    static const char *const suffix[] = {"", "_pinned", "_pinned_in_place"};
    static struct bench b; /* large */

    printf("%" PRIu64 " MiB of %s, %u rounds:\n", mib,
           kind == KL_LINUX_HUGETLB ? "huge pages" : "a memfd", rounds);
    printf("  %-16s %18s %18s %10s %9s %8s %6s %5s\n", "", "one piece", "blocks back", "(system)",
           "moved", "quieted", "late", "wrong");
    for (unsigned keep = HOOKS; keep <= PINNED_IN_PLACE; keep++) {
        open_zone(&b, kind, mib);
        history(&b, (enum keep)keep, rounds, seed);
        print(how[keep], &b);
        if (b.f.wrong || b.f.wanted != b.f.returned)
            die("%" PRIu64 " pages wrong, %" PRIu64 " bytes of %" PRIu64 " back", b.f.wrong,
                b.f.returned, b.f.wanted);
        ratios(suffix[keep], &b);
        if (keep == HOOKS)
            more_ratios(&b);
        close_zone(&b);
    }
}

static uint64_t number(const char *text)
{
    char *end;
    unsigned long long n = strtoull(text, &end, 10);

    if (!*text || *end || n == 0 || n > 1u << 20)
        die("usage: objectsbench io memfd|hugetlb MIB ROUNDS [SEED] | costs ROUNDS [SEED]");
    return n;
}

int main(int argc, char **argv)
{
    bool is_io = (argc == 5 || argc == 6) && strcmp(argv[1], "io") == 0;
    bool huge = is_io && strcmp(argv[2], "hugetlb") == 0;

    if (is_io && (huge || strcmp(argv[2], "memfd") == 0) && number(argv[3]) >= 32) {
        stay_on(0);
        io(huge ? KL_LINUX_HUGETLB : KL_LINUX_MEMFD, number(argv[3]), (unsigned)number(argv[4]),
           argc == 6 ? number(argv[5]) : 1);
    } else if ((argc == 3 || argc == 4) && strcmp(argv[1], "costs") == 0) {
        stay_on(0);
        costs((unsigned)number(argv[2]), argc == 4 ? number(argv[3]) : 1);
    } else {
        number("");
    }
    return 0;
}
