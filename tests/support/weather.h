// SPDX-License-Identifier: Apache-2.0
/* What a write-back target goes through in a torture: it is slow, full, fails, lies, gives
 * writes up that take effect later, stalls, is gone, and is well again. */
#ifndef TESTS_WEATHER_H
#define TESTS_WEATHER_H

#include "support/target.h"

struct weather {
    struct fake_target *target;
    _Atomic uint64_t changes; /* odd: bad */
    atomic_uint seen;         /* a bit a sort */
};

enum { WEATHERS = 9 };

/* Whatever it is now, for two milliseconds at most; one thread. */
void weather_change(struct weather *w, struct rng *rng);
/* Before something is asked. */
uint64_t weather_now(struct weather *w);
/* May it have ended so, with the weather `then` before?  0 and -KL_ETIMEDOUT always, -KL_EIO
 * in bad weather. */
bool weather_may(struct weather *w, uint64_t then, int err);
/* All have been. */
bool weather_had_all(struct weather *w);

#endif
