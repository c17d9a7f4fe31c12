// SPDX-License-Identifier: Apache-2.0
/* klotski/klotski.h - all of Klotski's public API. */
#ifndef KLOTSKI_H
#define KLOTSKI_H

#include "base.h"
#include "cma.h"
#include "contig.h"
#include "heap.h"
#include "host.h"
#include "inspect.h"
#include "linux.h"
#include "movable.h"
#include "pin.h"
#include "pool.h"
#include "pressure.h"
#include "share.h"
#include "shm.h"
#include "shrinker.h"
#include "step.h"
#include "store.h"
#include "target.h"
#include "who.h"
#include "writeback.h"
#include "zone.h"
#include "zsmalloc.h"

#endif
