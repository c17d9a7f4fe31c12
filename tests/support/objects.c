// SPDX-License-Identifier: Apache-2.0
#include "support/objects.h"

#include "zs/zs.h"

#include <string.h>

struct kl_zs *pool_open(struct fixture *f, unsigned blocks, unsigned flags)
{
    struct kl_zs *pool;

    fixture_open(f, blocks, 6, flags);
    assert_int_equal(kl_zs_create(f->zone, NULL, &pool), 0);
    return pool;
}

void pool_close(struct fixture *f, struct kl_zs *pool)
{
    assert_zs_ok(pool);
    assert_int_equal(kl_zs_destroy(pool), 0);
    fixture_close(f);
}

void object_put(struct kl_zs *pool, struct object *o, uint32_t size, uint64_t seed)
{
    static char buf[KL_ZS_MAX_SIZE];

    *o = (struct object){.size = size, .seed = seed};
    assert_int_equal(kl_zs_malloc(pool, size, 0, &o->handle), 0);
    fill_bytes(buf, size, seed);
    assert_int_equal(kl_zs_write(pool, o->handle, 0, buf, size), 0);
}

static _Thread_local char bytes[KL_ZS_MAX_SIZE];

bool object_right(struct kl_zs *pool, const struct object *o)
{
    return kl_zs_read(pool, o->handle, 0, bytes, o->size) == 0 &&
           bytes_are(bytes, o->size, o->seed);
}

bool object_right_in_place(struct kl_zs *pool, const struct object *o)
{
    struct kl_zs_pin pin;
    size_t len, at = 0;
    const char *run;

    if (kl_zs_begin(pool, o->handle, &pin))
        return false;
    for (; at < o->size && (run = kl_zs_run(&pin, at, &len)) != NULL; at += len)
        memcpy(bytes + at, run, len < o->size - at ? len : o->size - at);
    kl_zs_end(&pin);
    return bytes_are(bytes, o->size, o->seed);
}

uint64_t object_word(struct kl_zs *pool, kl_handle handle)
{
    return atomic_load(zs_entry(pool, (uint32_t)(handle.v >> 32)));
}

struct zspage *object_page(struct kl_zs *pool, const struct object *o)
{
    return zs_page(pool, zs_place_page(object_word(pool, o->handle)));
}
