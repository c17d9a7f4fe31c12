// SPDX-License-Identifier: Apache-2.0
#include "support/crowd.h"

#include <pthread.h>
#include <string.h>

enum { BLOCK = 4096, OPS = 3000, MOST = 8 };

struct member {
    const struct crowd *crowd;
    unsigned number;
    atomic_bool *stop;
};

static void check_any(const struct crowd *c, uint64_t block)
{
    char want[BLOCK] = {0}, back[BLOCK];

    if (kl_store_read(c->store, block, 0, back, BLOCK) != 0)
        abort();
    for (uint64_t version = 0; memcmp(want, back, BLOCK) != 0; version++) {
        if (version == c->versions)
            abort(); /* a mixture */
        c->make(want, block, version);
    }
}

static void *use_blocks(void *arg)
{
    const struct member *m = arg;
    const struct crowd *c = m->crowd;
    struct rng rng = rng_new(m->number);
    char buf[BLOCK];

    for (int i = 0; i < OPS; i++) {
        uint64_t block = rng_below(&rng, (uint32_t)c->blocks);

        switch (rng_below(&rng, 6)) {
        case 0:
        case 1:
            c->make(buf, block, rng_below(&rng, (uint32_t)c->versions));
            if (kl_store_write(c->store, block, 0, buf, BLOCK) != 0)
                abort();
            break;
        case 2:
            if (kl_store_discard(c->store, block, 0, BLOCK) != 0)
                abort();
            break;
        default:
            check_any(c, block);
        }
    }
    return NULL;
}

static void *look_after(void *arg)
{
    const struct member *m = arg;
    struct kl_store *store = m->crowd->store;

    while (!atomic_load(m->stop)) {
        kl_store_age(store, 200);
        if (kl_store_recompress(store, 300) < 0)
            abort();
        kl_store_compact(store, 20);
    }
    return NULL;
}

void crowd_run(const struct crowd *c)
{
    atomic_bool stop = false;
    struct member member[MOST];
    pthread_t thread[MOST];
    unsigned n = c->users + c->keepers;

    assert_true(n <= MOST);
    for (unsigned i = 0; i < n; i++) {
        member[i] = (struct member){c, i + 1, &stop};
        assert_int_equal(
            pthread_create(&thread[i], NULL, i < c->users ? use_blocks : look_after, &member[i]),
            0);
    }
    for (unsigned i = 0; i < n; i++) {
        if (i == c->users)
            atomic_store(&stop, true);
        pthread_join(thread[i], NULL);
    }
    for (uint64_t b = 0; b < c->blocks; b++)
        check_any(c, b);
}

struct kl_store_stats crowd_stats(struct kl_store *store)
{
    struct kl_store_stats s = {.size = sizeof(s)};

    kl_store_get_stats(store, &s);
    return s;
}

void crowd_close(struct fixture *f, struct kl_store *store)
{
    assert_store_ok(store);
    assert_int_equal(kl_store_destroy(store), 0);
    fixture_close(f);
}
