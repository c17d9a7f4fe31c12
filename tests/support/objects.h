// SPDX-License-Identifier: Apache-2.0
/* Objects of a zsmalloc pool that know what they should contain. */
#ifndef TESTS_OBJECTS_H
#define TESTS_OBJECTS_H

#include "support/fixture.h"

struct object {
    kl_handle handle;
    uint32_t size;
    uint64_t seed;
};

/* A pool in a zone of so many blocks of 64 frames. */
struct kl_zs *pool_open(struct fixture *f, unsigned blocks, unsigned flags);
/* Checks both. */
void pool_close(struct fixture *f, struct kl_zs *pool);

void object_put(struct kl_zs *pool, struct object *o, uint32_t size, uint64_t seed);
/* It is there, and as it should be; read, or looked at in place. */
bool object_right(struct kl_zs *pool, const struct object *o);
bool object_right_in_place(struct kl_zs *pool, const struct object *o);

/* The word of its entry, and its zspage. */
uint64_t object_word(struct kl_zs *pool, kl_handle handle);
struct zspage *object_page(struct kl_zs *pool, const struct object *o);

#endif
