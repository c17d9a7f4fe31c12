// SPDX-License-Identifier: Apache-2.0
#include "support/weather.h"

#include <time.h>

enum { MOST_GIVEN_UP = 40 }; /* writes, for their places are lost */

static void set(struct fake_target *t, unsigned sort, int on)
{
    switch (sort) {
    case 0:
        atomic_store(&t->error, on ? -KL_EIO : 0);
        atomic_store(&t->fail_writes, on ? 30 : 0);
        atomic_store(&t->fail_reads, on ? 40 : 0);
        break;
    case 1:
        atomic_store(&t->error, on ? -KL_EAGAIN : 0);
        atomic_store(&t->fail_writes, on ? 30 : 0);
        atomic_store(&t->fail_reads, on ? 60 : 0);
        break;
    case 2:
        atomic_store(&t->fail_flushes, on ? 40 : 0);
        break;
    case 3:
        atomic_store(&t->lie, on ? 50 : 0);
        break;
    case 4:
        atomic_store(&t->give_up, on && atomic_load(&t->given_up) < MOST_GIVEN_UP ? 3 : 0);
        break;
    case 5:
        atomic_store(&t->gone, on);
        break;
    case 6:
        fake_target_stall(t, on);
        break;
    case 7:
        atomic_store(&t->error, on ? -KL_ENOSPC : 0);
        atomic_store(&t->fail_writes, on ? 40 : 0);
        break;
    default:
        atomic_store(&t->delay_us, on ? 300 : 0);
        break;
    }
}

void weather_change(struct weather *w, struct rng *rng)
{
    unsigned sort = rng_below(rng, WEATHERS);
    struct timespec nap = {.tv_nsec = 100000 + (long)rng_below(rng, 2000000)};

    atomic_fetch_add(&w->changes, 1);
    set(w->target, sort, 1);
    atomic_fetch_or(&w->seen, 1u << sort);
    nanosleep(&nap, NULL);
    set(w->target, sort, 0);
    if (sort == 4)
        fake_target_land(w->target);
    atomic_fetch_add(&w->changes, 1);
}

uint64_t weather_now(struct weather *w)
{
    return atomic_load(&w->changes);
}

bool weather_may(struct weather *w, uint64_t then, int err)
{
    if (err == -KL_EIO)
        return then % 2 || atomic_load(&w->changes) != then;
    return err == 0 || err == -KL_ETIMEDOUT;
}

bool weather_had_all(struct weather *w)
{
    return atomic_load(&w->seen) == (1u << WEATHERS) - 1;
}
