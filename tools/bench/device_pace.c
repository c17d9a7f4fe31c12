// SPDX-License-Identifier: Apache-2.0
/* device_pace.c - from a budget in time to bytes, and what passes then really took.
 *
 * A pass takes, in processor time, what kl_heap_pass takes in the caller, and what the engine's
 * thread does until the batch is reported: the copies, and the library's end of the moves.  On a
 * machine that others use, too, wall time is mostly theirs; it is kept beside.
 *
 * The rate is the engine's as it was measured: of the last 64 passes the one that took the
 * longest for a byte says how many bytes the next one may have. */
#include "device.h"

#include <stdlib.h>

enum { LASTS = 64 };

void pace_open(struct pace *pace, double budget_us)
{
    *pace = (struct pace){.budget_us = budget_us};
    pthread_mutex_init(&pace->lock, NULL);
}

/* What was so far was to learn. */
void pace_learnt(struct pace *pace)
{
    pace->n = pace->passes = 0;
}

void pace_close(struct pace *pace)
{
    pthread_mutex_destroy(&pace->lock);
    free(pace->cpu);
    free(pace->wall);
}

uint64_t pace_bytes(const struct pace *pace)
{
    uint32_t n = pace->lasts < LASTS ? pace->lasts : LASTS;
    double slowest = 0;

    for (uint32_t i = 0; i < n; i++)
        slowest = pace->last[i] > slowest ? pace->last[i] : slowest;
    return (uint64_t)(pace->budget_us * 1000 / slowest);
}

void pace_begin(struct pace *pace)
{
    pthread_mutex_lock(&pace->lock);
    pace->engine_before = pace->engine_cpu;
    pthread_mutex_unlock(&pace->lock);
    pace->wall_begin = now_ns();
    pace->cpu_begin = cpu_ns();
}

void pace_submitted(struct pace *pace)
{
    pace->submitted = cpu_ns() - pace->cpu_begin;
}

void pace_report(struct pace *pace)
{
    pthread_mutex_lock(&pace->lock);
    pace->engine_cpu = cpu_ns();
    pace->engine_end = now_ns();
    pthread_mutex_unlock(&pace->lock);
}

static void more_room(struct pace *pace)
{
    pace->room = pace->room ? pace->room * 2 : 1024;
    pace->cpu = realloc(pace->cpu, pace->room * sizeof(*pace->cpu));
    pace->wall = realloc(pace->wall, pace->room * sizeof(*pace->wall));
    if (!pace->cpu || !pace->wall)
        die("no memory for figures");
}

/* Passes of little say nothing of the rate, nor whether the budget is kept. */
void pace_end(struct pace *pace, uint64_t bytes, uint64_t most)
{
    double cpu, wall;

    pthread_mutex_lock(&pace->lock);
    cpu = (double)(pace->submitted + pace->engine_cpu - pace->engine_before);
    wall = (double)(pace->engine_end - pace->wall_begin);
    pthread_mutex_unlock(&pace->lock);
    pace->passes++;
    if (bytes < most / 2)
        return;
    if (pace->n == pace->room)
        more_room(pace);
    pace->cpu[pace->n] = cpu / 1000;
    pace->wall[pace->n++] = wall / 1000;
    pace->last[pace->lasts++ % LASTS] = cpu / (double)bytes;
}
