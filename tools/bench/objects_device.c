// SPDX-License-Identifier: Apache-2.0
/* objects_device.c - a device that works on objects by the addresses of their frames.
 *
 * Its driver keeps a table of frames for each buffer, as an IOMMU or a GPU's page table
 * would.  The device is a thread that takes a random buffer, reads up to 16 pages of it and
 * looks at their checksums, or writes them anew.  What it finds wrong it counts.
 *
 * The driver's part of a migration: prepare stops the buffers and waits for the job that is
 * under way on one of them (with a long bound: this device may be kept off its CPU); finish
 * takes their addresses anew.  A job for a buffer that is stopped waits, and with it those
 * behind it.
 */
#include "objects.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { JOB_PAGES = 16, RUNS = 64 };
#define BOUND_NS UINT64_C(10000000000)

static void *address(const struct device *d, const struct buffer *b, uint32_t page)
{
    return kl_frame_addr(d->zone, kl_zone_pfn(d->zone, b->nr[page]));
}

/* ---- the driver ---- */

static void map(struct device *d, struct buffer *b)
{
    struct kl_shm_run run[RUNS];
    uint64_t page = 0, next;

    while (page < b->pages) {
        int n = kl_shm_sg(d->shm, b->object, page, run, RUNS, &next);

        if (n <= 0)
            die("no scatter list: %s", kl_err_text(n));
        for (int i = 0; i < n; i++) {
            for (uint32_t k = 0; k < run[i].frames && page < b->pages; k++)
                b->nr[page++] = kl_pfn_nr(run[i].first) + k;
        }
    }
}

static bool wait_idle(struct buffer *b)
{
    uint64_t since = 0;

    while (atomic_load(&b->state) & BUSY) {
        if (since == 0)
            since = now_ns();
        else if (now_ns() - since > BOUND_NS)
            return false;
        sched_yield();
    }
    return true;
}

static int prepare(const struct kl_shm_ref *objects, size_t n, enum kl_mode mode)
{
    struct device *d = objects[0].device;
    bool idle = true;

    (void)mode;
    for (size_t i = 0; i < n; i++)
        atomic_fetch_add(&((struct buffer *)objects[i].data)->state, STOP);
    for (size_t i = 0; i < n && idle; i++)
        idle = wait_idle(objects[i].data);
    if (idle)
        return 0;
    d->late++;
    for (size_t i = 0; i < n; i++)
        atomic_fetch_sub(&((struct buffer *)objects[i].data)->state, STOP);
    return -KL_EBUSY;
}

static void finish(const struct kl_shm_ref *objects, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct buffer *b = objects[i].data;

        map(objects[i].device, b);
        atomic_fetch_sub(&b->state, STOP);
    }
}

static void keep(struct device *d, struct buffer *b)
{
    if (d->keep == HOOKS) {
        must(kl_shm_attach(d->shm, b->object, d->id, b), "attach");
        must(kl_shm_activate(d->shm, b->object, KL_SYNC), "activate");
        return;
    }
    if (d->keep == PINNED_IN_PLACE)
        kl_zone_set_migration(d->zone, false);
    must(kl_shm_pin(d->shm, b->object, "the device has its addresses", &b->pin), "pin");
    kl_zone_set_migration(d->zone, true);
}

static void let_go(struct device *d, struct buffer *b)
{
    if (d->keep == HOOKS) {
        must(kl_shm_deactivate(d->shm, b->object), "deactivate");
        must(kl_shm_detach(d->shm, b->object), "detach");
    } else {
        must(kl_shm_unpin(d->shm, b->object, b->pin), "unpin");
    }
}

/* ---- the device ---- */

static void fill(uint64_t page[PAGE / 8], uint64_t *random)
{
    for (unsigned i = 0; i < PAGE / 8; i += 8)
        page[i] = rng_next(random);
}

static void job(struct device *d, struct buffer *b, uint64_t page[PAGE / 8], uint64_t *random)
{
    uint32_t n = 1 + (uint32_t)(rng_next(random) % JOB_PAGES);
    uint32_t at = (uint32_t)(rng_next(random) % b->pages);
    bool write = rng_next(random) & 1;

    n = n < b->pages - at ? n : b->pages - at;
    for (uint32_t i = at; i < at + n; i++) {
        if (!write) {
            atomic_fetch_add(&d->wrong, kl_linux_hash(address(d, b, i), PAGE) != b->sum[i]);
            continue;
        }
        fill(page, random);
        b->sum[i] = kl_linux_hash(page, PAGE);
        memcpy(address(d, b, i), page, PAGE);
    }
    atomic_fetch_add_explicit(&d->bytes, (uint64_t)n * PAGE, memory_order_relaxed);
}

/* Waiting costs the device its time, which is what it is measured by.  false: it is gone, or
 * the device is to end. */
static bool begin(struct device *d, struct buffer *b)
{
    enum { SPINS = 10000 };

    for (unsigned i = 1; !atomic_load(&d->halt); i++) {
        uint32_t seen = 0;

        if (atomic_compare_exchange_weak(&b->state, &seen, BUSY))
            return true;
        if (seen & GONE)
            return false;
        if (i % SPINS == 0)
            sched_yield();
    }
    return false;
}

static void *work(void *arg)
{
    struct device *d = arg;
    uint64_t page[PAGE / 8] = {0}, random = 77;

    stay_on(1);
    while (!atomic_load(&d->halt)) {
        struct buffer *b = &d->buffer[rng_next(&random) % BUFFERS];

        if (!begin(d, b))
            continue;
        job(d, b, page, &random);
        atomic_fetch_and(&b->state, ~(uint32_t)BUSY);
    }
    return NULL;
}

void device_start(struct device *d)
{
    atomic_store(&d->halt, false);
    if (pthread_create(&d->thread, NULL, work, d) != 0)
        die("no thread");
}

void device_stop(struct device *d)
{
    atomic_store(&d->halt, true);
    pthread_join(d->thread, NULL);
}

void device_open(struct device *d, struct kl_zone *zone, enum keep how, uint64_t seed)
{
    static const struct kl_shm_ops ops = {
        .size = sizeof(ops), .name = "bench", .prepare = prepare, .finish = finish};

    memset(d, 0, sizeof(*d));
    d->zone = zone;
    d->keep = how;
    d->random = seed * 0x9e3779b97f4a7c15u | 1;
    for (unsigned i = 0; i < BUFFERS; i++)
        atomic_store(&d->buffer[i].state, GONE);
    must(kl_shm_create(zone, NULL, &d->shm), "objects");
    if (how == HOOKS)
        must(kl_shm_device_register(d->shm, &ops, d, &d->id), "device");
}

void device_close(struct device *d)
{
    buffers_drop_all(d);
    if (d->keep == HOOKS)
        must(kl_shm_device_unregister(d->shm, d->id), "device's end");
    must(kl_shm_check(d->shm, NULL), "recount");
    must(kl_shm_destroy(d->shm), "objects' end");
}

/* ---- buffers ---- */

bool buffer_is(const struct buffer *b)
{
    return b->pages > 0;
}

static struct buffer *free_place(struct device *d)
{
    for (unsigned i = 0; i < BUFFERS; i++) {
        if (!buffer_is(&d->buffer[i]))
            return &d->buffer[i];
    }
    die("too many buffers");
}

/* 1 to 256 pages, as many of each power of two. */
static uint32_t random_pages(struct device *d)
{
    uint32_t most = 1u << rng_next(&d->random) % 9;

    return 1 + (uint32_t)(rng_next(&d->random) % most);
}

bool buffer_add(struct device *d)
{
    struct buffer *b = free_place(d);
    uint32_t pages = random_pages(d);
    uint64_t page[PAGE / 8] = {0};

    must(kl_shm_object_create(d->shm, (uint64_t)pages * PAGE, 0, &b->object), "buffer");
    b->nr = need(pages * sizeof(*b->nr));
    b->sum = need(pages * sizeof(*b->sum));
    for (uint32_t i = 0; i < pages; i++) {
        fill(page, &d->random);
        b->sum[i] = kl_linux_hash(page, PAGE);
        if (kl_shm_write(d->shm, b->object, (uint64_t)i * PAGE, page, PAGE) != 0) {
            must(kl_shm_object_destroy(d->shm, b->object), "buffer's end");
            free(b->nr);
            free(b->sum);
            return false;
        }
    }
    b->pages = pages;
    keep(d, b);
    map(d, b);
    d->pages += pages;
    atomic_store(&b->state, 0);
    return true;
}

void buffer_remove(struct device *d, struct buffer *b)
{
    char page[PAGE];

    atomic_fetch_or(&b->state, GONE);
    while (atomic_load(&b->state) & BUSY)
        sched_yield();
    for (uint32_t i = 0; i < b->pages; i++) {
        must(kl_shm_read(d->shm, b->object, (uint64_t)i * PAGE, page, PAGE), "read");
        atomic_fetch_add(&d->wrong, kl_linux_hash(page, PAGE) != b->sum[i]);
    }
    let_go(d, b);
    must(kl_shm_object_destroy(d->shm, b->object), "buffer's end");
    free(b->nr);
    free(b->sum);
    d->pages -= b->pages;
    b->pages = 0;
}

void buffers_churn(struct device *d, double most, double least)
{
    double frames = kl_zone_frames(d->zone);

    while ((double)d->pages + LARGEST < most * frames && buffer_add(d))
        ;
    while ((double)d->pages > least * frames) {
        struct buffer *b = &d->buffer[rng_next(&d->random) % BUFFERS];

        if (buffer_is(b))
            buffer_remove(d, b);
    }
}

void buffers_drop_all(struct device *d)
{
    for (unsigned i = 0; i < BUFFERS; i++) {
        if (buffer_is(&d->buffer[i]))
            buffer_remove(d, &d->buffer[i]);
    }
}
