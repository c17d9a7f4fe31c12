// SPDX-License-Identifier: Apache-2.0
/* The frame's private word is its item's number + 1.  One lock for all items; the
 * callbacks take it, as an owner's would. */
#include "support/mover.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void take(struct mover *m)
{
    if (!m->poll)
        pthread_mutex_lock(&m->lock);
    while (m->poll && pthread_mutex_trylock(&m->lock) != 0)
        m->poll();
}

static void breach(struct mover *m, const char *what)
{
    if (!m->broken)
        m->broken = what;
}

static bool dice(struct mover *m, atomic_int *percent)
{
    return (int)rng_below(&m->rng, 100) < atomic_load(percent);
}

/* The item that lives in the frame; NULL when it was freed a moment ago. */
static struct item *item_of(struct mover *m, kl_pfn pfn)
{
    uint64_t priv = kl_frame_private(m->zone, pfn);

    if (priv > MOVER_ITEMS)
        breach(m, "a frame with another owner's private word");
    if (priv == 0 || priv > MOVER_ITEMS || m->item[priv - 1].pfn.v != pfn.v) {
        m->late++;
        return NULL;
    }
    return &m->item[priv - 1];
}

static bool isolate(void *ctx, kl_pfn frame, enum kl_mode mode)
{
    struct mover *m = ctx;
    struct item *item;
    bool ok;

    (void)mode;
    take(m);
    item = item_of(m, frame);
    if (item && item->isolated)
        breach(m, "isolated twice");
    ok = item && !item->pinned && !dice(m, &m->refuse);
    if (ok) {
        item->isolated = true;
        m->isolated++;
    }
    pthread_mutex_unlock(&m->lock);
    return ok;
}

static int migrate(void *ctx, kl_pfn dst, kl_pfn src, enum kl_mode mode)
{
    struct mover *m = ctx;
    struct item *item;
    int err = 0;

    (void)mode;
    take(m);
    item = item_of(m, src);
    if (item && !item->isolated)
        breach(m, "migrated without isolation");
    if (!item || dice(m, &m->fail))
        err = -KL_EBUSY;
    else if (dice(m, &m->busy))
        err = -KL_EAGAIN;
    if (!err) {
        if (kl_frame_copy(m->zone, dst, src) != 0)
            breach(m, "a copy was refused");
        memset(kl_frame_addr(m->zone, src), 0xdd, 64);
        kl_frame_set_private(m->zone, dst, kl_frame_private(m->zone, src));
        item->pfn = dst;
        item->isolated = false;
        m->migrated++;
    }
    pthread_mutex_unlock(&m->lock);
    return err;
}

static size_t migrate_batch(void *ctx, struct kl_move *moves, size_t n, enum kl_mode mode)
{
    for (size_t i = 0; i < n; i++)
        moves[i].result = migrate(ctx, moves[i].dst, moves[i].src, mode);
    return 0;
}

/* A copy engine: a thread that finishes every other move some time later. */
struct engine_job {
    struct mover *m;
    struct kl_move *moves[64];
    size_t n;
};

static void *engine(void *arg)
{
    struct engine_job *job = arg;

    usleep(200);
    for (size_t i = 0; i < job->n; i++) {
        struct kl_move *move = job->moves[i];

        kl_move_done(move, migrate(job->m, move->dst, move->src, KL_ASYNC));
    }
    free(job);
    return NULL;
}

static size_t migrate_async(void *ctx, struct kl_move *moves, size_t n, enum kl_mode mode)
{
    struct engine_job *job = calloc(1, sizeof(*job));
    size_t pending;
    pthread_t thread;

    job->m = ctx;
    for (size_t i = 0; i < n; i++) {
        if (i % 2 == 0) {
            moves[i].result = migrate(ctx, moves[i].dst, moves[i].src, mode);
            continue;
        }
        moves[i].result = KL_PENDING;
        job->moves[job->n++] = &moves[i];
    }
    pending = job->n;
    if (pthread_create(&thread, NULL, engine, job) == 0)
        pthread_detach(thread);
    else
        engine(job); /* no more threads: it does the moves itself */
    return pending;
}

static void putback(void *ctx, kl_pfn frame)
{
    struct mover *m = ctx;
    struct item *item;

    take(m);
    item = item_of(m, frame);
    if (item && !item->isolated)
        breach(m, "put back without isolation");
    if (item) {
        item->isolated = false;
        m->put_back++;
    }
    pthread_mutex_unlock(&m->lock);
}

static int prepare(void *ctx, const kl_pfn *frames, size_t n, enum kl_mode mode)
{
    struct mover *m = ctx;
    bool fails;

    (void)frames, (void)n, (void)mode;
    take(m);
    fails = dice(m, &m->fail_prepare);
    pthread_mutex_unlock(&m->lock);
    return fails ? -KL_EBUSY : 0;
}

static void finish(void *ctx, const kl_pfn *frames, size_t n)
{
    (void)ctx, (void)frames, (void)n;
}

static bool explain(void *ctx, kl_pfn frame, char *text, size_t bytes)
{
    struct mover *m = ctx;

    (void)frame;
    if (atomic_load(&m->refuse) == 100)
        snprintf(text, bytes, "refuses everything");
    return atomic_load(&m->refuse) == 100;
}

void mover_open(struct mover *m, struct kl_zone *zone, enum mover_kind kind)
{
    struct kl_owner_ops ops = {.size = sizeof(ops),
                               .name = "mover",
                               .isolate = isolate,
                               .migrate = migrate,
                               .putback = putback,
                               .explain = explain};

    if (kind == MOVER_BATCH)
        ops.migrate_batch = migrate_batch;
    if (kind == MOVER_ASYNC)
        ops.migrate_batch = migrate_async;
    if (kind != MOVER_SINGLE) {
        ops.prepare = prepare;
        ops.finish = finish;
    }
    memset(m, 0, sizeof(*m));
    m->zone = zone;
    m->rng = rng_new(4711);
    pthread_mutex_init(&m->lock, NULL);
    assert_int_equal(kl_owner_register(zone, &ops, m, &m->owner), 0);
}

void mover_close(struct mover *m)
{
    for (unsigned i = 0; i < MOVER_ITEMS; i++) {
        if (m->item[i].pinned)
            mover_unpin(m, i);
        if (m->item[i].here)
            assert_true(mover_free(m, i));
    }
    assert_int_equal(kl_owner_unregister(m->zone, m->owner), 0);
    if (m->broken)
        fail_msg("contract: %s", m->broken);
    assert_int_equal(m->isolated, m->migrated + m->put_back + m->freed);
    pthread_mutex_destroy(&m->lock);
}

static size_t bytes_of(const struct mover *m, const struct item *item)
{
    return kl_zone_frame_bytes(m->zone) << item->order;
}

int mover_alloc(struct mover *m, unsigned i, unsigned order, unsigned flags)
{
    struct item *item = &m->item[i];
    kl_pfn pfn;
    int err = kl_frame_alloc(m->zone, order, m->owner, flags, &pfn);

    if (err)
        return err;
    take(m);
    *item = (struct item){.pfn = pfn, .order = order, .seed = ++m->seeds, .here = true};
    fill_bytes(kl_frame_addr(m->zone, pfn), bytes_of(m, item), item->seed);
    kl_frame_set_private(m->zone, pfn, i + 1); /* from now on it may be isolated */
    pthread_mutex_unlock(&m->lock);
    return 0;
}

bool mover_right(struct mover *m, unsigned i)
{
    struct item *item = &m->item[i];
    bool right;

    take(m);
    right =
        item->pfn.v && bytes_are(kl_frame_addr(m->zone, item->pfn), bytes_of(m, item), item->seed);
    pthread_mutex_unlock(&m->lock);
    return right;
}

bool mover_free(struct mover *m, unsigned i)
{
    struct item *item = &m->item[i];
    bool right = mover_right(m, i);

    take(m);
    if (kl_frame_free(m->zone, m->owner, item->pfn) != 0)
        breach(m, "a free was refused");
    m->freed += item->isolated;
    item->isolated = false;
    item->pfn = (kl_pfn){0};
    item->here = false;
    pthread_mutex_unlock(&m->lock);
    return right;
}

kl_pfn mover_disown(struct mover *m, unsigned i)
{
    struct item *item = &m->item[i];
    kl_pfn pfn = {0};

    take(m);
    if (item->pfn.v && !item->pinned) {
        pfn = item->pfn;
        m->freed += item->isolated;
        item->isolated = false;
        item->pfn = (kl_pfn){0};
        item->here = false;
    }
    pthread_mutex_unlock(&m->lock);
    return pfn;
}

int mover_pin(struct mover *m, unsigned i)
{
    int err;

    take(m);
    err = kl_frame_pin(m->zone, m->owner, m->item[i].pfn);
    m->item[i].pinned |= err == 0;
    pthread_mutex_unlock(&m->lock);
    return err;
}

void mover_unpin(struct mover *m, unsigned i)
{
    take(m);
    if (kl_frame_unpin(m->zone, m->owner, m->item[i].pfn) != 0)
        breach(m, "an unpin was refused");
    m->item[i].pinned = false;
    pthread_mutex_unlock(&m->lock);
}

static void frames_of(struct mover *m, const unsigned *items, unsigned n, kl_pfn *frames)
{
    for (unsigned i = 0; i < n; i++)
        frames[i] = m->item[items[i]].pfn;
}

int mover_hold(struct mover *m, const unsigned *items, unsigned n, kl_pin_id *pin)
{
    struct kl_pin_config config = {.size = sizeof(config), .object = items[0], .why = "held"};
    kl_pfn frames[MOVER_HOLD];
    int err;

    pthread_mutex_lock(&m->lock);
    frames_of(m, items, n, frames);
    err = kl_pin_begin(m->zone, m->owner, &config, frames, n, pin);
    for (unsigned i = 0; i < n && !err; i++)
        m->item[items[i]].held++;
    pthread_mutex_unlock(&m->lock);
    return err;
}

void mover_let_go(struct mover *m, const unsigned *items, unsigned n, kl_pin_id pin)
{
    for (unsigned i = 0; i < n; i++)
        m->item[items[i]].held--;
    if (kl_pin_end(m->zone, m->owner, pin) != 0)
        breach(m, "the end of a pin was refused");
}

int mover_settle(struct mover *m, const unsigned *items, unsigned n, enum kl_mode mode)
{
    struct kl_report r = {.size = sizeof(r)};
    kl_pfn frames[MOVER_HOLD];
    int err;

    pthread_mutex_lock(&m->lock);
    frames_of(m, items, n, frames);
    pthread_mutex_unlock(&m->lock);
    err = kl_pin_settle(m->zone, m->owner, frames, n, mode, &r);
    if (r.isolated != r.migrated + r.put_back + r.freed)
        breach(m, "settling left an isolation without one outcome");
    return err;
}

void mover_scatter(struct mover *m, unsigned keep)
{
    unsigned n = kl_zone_frames(m->zone);

    for (unsigned i = 0; i < n; i++)
        assert_int_equal(mover_alloc(m, i, 0, KL_MOVABLE), 0);
    for (unsigned i = 0; i < n; i++) {
        if (kl_pfn_nr(m->item[i].pfn) % keep)
            assert_true(mover_free(m, i));
    }
}

unsigned mover_at(const struct mover *m, uint32_t nr)
{
    for (unsigned i = 0; i < MOVER_ITEMS; i++) {
        if (m->item[i].pfn.v && kl_pfn_nr(m->item[i].pfn) == nr)
            return i;
    }
    fail_msg("no item in frame %u", nr);
    return 0;
}

void mover_all_right(struct mover *m)
{
    for (unsigned i = 0; i < MOVER_ITEMS; i++)
        assert_true(!m->item[i].here || mover_right(m, i));
}
