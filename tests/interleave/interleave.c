// SPDX-License-Identifier: Apache-2.0
/* Forced interleavings: for every trace point a thread is stopped at it while
 * another one runs each of the operations that may run beside it.
 *
 * `ways` says how each point is reached: by which operation of the first actor, in
 * which scene, with which cues.  A point without a way fails the test.  Each way is
 * played with every operation of its scene by the second actor, several times:
 *
 *   once     the first stands at the point, the second runs from its beginning to
 *            its end, the first goes on
 *   n times  the first stands at the point, the second runs as far as its nth
 *            point that is new to it and stands there; the first runs to its end;
 *            the second goes on
 *
 * so that both orders of every two steps come up.  Whoever provably waits for the
 * one that stands lets it go; `waits` says who may, and why; a wait that is not
 * there fails the test, and so does one that is there and never happens.
 *
 * Each group of scenes has a process of its own, all at a time: most of a play is two
 * threads that wait for one another.
 */
#include "interleave/tables.h"
#include "support/crash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ORDERS "both_orders_of_"

static struct group {
    const char *name;
    unsigned kinds; /* of scenes */
    pid_t process;
    FILE *said;
} groups[] = {
    {.name = ORDERS "frames", .kinds = FRAMES | BATCH | ABSENT | SPARE},
    {.name = ORDERS "zs", .kinds = ZS},
    {.name = ORDERS "store", .kinds = STORE},
    {.name = ORDERS "dedup", .kinds = DEDUP},
    {.name = ORDERS "away", .kinds = AWAY},
    {.name = ORDERS "area", .kinds = AREA},
    {.name = ORDERS "units", .kinds = POOL},
    {.name = ORDERS "shares", .kinds = SHARE},
    {.name = ORDERS "objects", .kinds = SHM},
};
enum { GROUPS = sizeof(groups) / sizeof(groups[0]) };

/* STALL points: whoever passes one polls, and is no less stopped there than by the
 * poll; every other point has a way. */
static bool is_stall(int point)
{
    return begins(stage_point_name(point), "stall_");
}

static void every_point_has_a_way(void **state)
{
    bool has[KLI_TRACE_COUNT] = {0};
    unsigned kinds = 0; /* that a group plays */

    (void)state;
    for (unsigned i = 0; i < GROUPS; i++)
        kinds |= groups[i].kinds;
    for (unsigned i = 0; i < ways_n; i++)
        has[ways[i].point] |= (ways[i].kind & kinds) != 0;
    for (int p = 0; p < KLI_TRACE_COUNT; p++) {
        if (!has[p] && !is_stall(p))
            fail_msg("no scenario stops a thread at %s", stage_point_name(p));
    }
}

/* Operations that their callers must not run beside each other. */
static bool may_run_together(const struct op *a, const struct op *b)
{
    bool za = begins(a->name, "zs "), zb = begins(b->name, "zs ");
    const struct op *destroy = op_named("zs destroy"), *leave = op_named("leave");

    if ((a == destroy && zb) || (b == destroy && za))
        return false; /* zsmalloc.h: all but create and destroy */
    if ((a == leave || b == leave) &&
        (begins(a->name, "alloc") || begins(b->name, "alloc") || a == b))
        return false; /* movable.h: the owner allocates nothing meanwhile */
    if (a == b && strcmp(a->name, "pl zero") == 0)
        return false; /* shrinker.h: work is called by one thread at a time */
    return a != b || (strcmp(a->name, "zs write") != 0 && !a->pinned);
}

static void set_scene(struct scene *s, const struct way *way, const struct op *a,
                      const struct op *b)
{
    scene_open(s, way->kind);
    s->op[0] = a;
    s->op[1] = b;
    s->pinned = a->pinned || b->pinned;
    if (s->pinned)
        assert_int_equal(mover_pin(s->m, s->subject), 0);
}

/* One play; nth 0: the second runs to its end.  false: it had no nth point. */
static bool play(const struct way *way, const struct op *b, unsigned nth)
{
    const struct op *a = op_named(way->op);
    struct scene s;
    bool stood, let_go; /* the first, by the second: then both ran at a time */

    snprintf(stage_now, sizeof(stage_now), "%s stands at %s, %s runs (stop %u)", a->name,
             stage_point_name(way->point), b->name, nth);
    set_scene(&s, way, a, b);
    if (!stage_start(0, scene_play, &s, way->point, 1, way->after, way->cue) && !b->pinned)
        fail_msg("the point is not reached; %s", stage_now);
    stood = stage_start(1, scene_play, &s, nth ? STAGE_ANY : STAGE_NEVER, nth, STAGE_NEVER, NULL);
    let_go = atomic_load(&stage[1].waited) || atomic_load(&stage[1].owner_waited);
    stage_finish(stood ? 0 : 1);
    stage_finish(stood ? 1 : 0);
    if (atomic_load(&stage[1].waited))
        note_wait(way->point, a, b);
    if (atomic_load(&stage[0].waited) && !let_go)
        note_wait(stage[1].stopped_at, b, a);
    scene_close(&s);
    return stood;
}

/* For slow machines: every sixth of the second order's stops. */
static unsigned quickness(void)
{
    const char *quick = getenv("KLOTSKI_INTERLEAVE");

    return quick && strcmp(quick, "quick") == 0 ? 6 : 1;
}

static unsigned play_all(const struct way *way)
{
    const struct op *a = op_named(way->op);
    unsigned plays = 0;

    for (unsigned i = 0; i < ops_n; i++) {
        const struct op *b = &ops[i];
        unsigned nth;

        if (!(b->kinds & way->kind) || !may_run_together(a, b) ||
            (b->pinned && way->cue[0].act)) /* the subject is out of play then */
            continue;
        plays++;
        play(way, b, 0);
        for (nth = 1; play(way, b, nth); nth += quickness())
            plays++;
    }
    return plays;
}

static void play_group(void **state)
{
    const struct group *group = *state;
    unsigned plays = 0;

    crash_watch();
    for (unsigned i = 0; i < ways_n; i++) {
        if (ways[i].kind & group->kinds)
            plays += play_all(&ways[i]);
    }
    printf("%u plays\n", plays);
    assert_true(plays > 0);
}

static int run_group(struct group *group)
{
    const struct CMUnitTest tests[] = {{group->name, play_group, NULL, NULL, group}};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What it says goes to a file, for one story at a time. */
static void start_group(struct group *group)
{
    group->said = tmpfile();
    assert_non_null(group->said);
    fflush(stdout);
    group->process = fork();
    assert_true(group->process >= 0);
    if (group->process > 0)
        return;
    dup2(fileno(group->said), STDOUT_FILENO);
    dup2(fileno(group->said), STDERR_FILENO);
    exit(run_group(group));
}

static void both_orders_of(void **state)
{
    struct group *group = *state;
    char line[512];
    int status;

    assert_int_equal(waitpid(group->process, &status, 0), group->process);
    rewind(group->said);
    while (fgets(line, sizeof(line), group->said))
        printf("# %s", line);
    fclose(group->said);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Freed while it was isolated: no callback begins for it any more. */
static void nobody_is_called_for_what_was_freed(void **state)
{
    const struct cue cues[STAGE_CUES] = {{KLI_T_migrate_begin, cue_free_subject}};
    struct scene s;

    (void)state;
    snprintf(stage_now, sizeof(stage_now), "give, freed at migrate_begin");
    scene_open(&s, FRAMES);
    s.op[0] = op_named("give");
    s.op[1] = op_named("trim");
    stage_start(0, scene_play, &s, STAGE_NEVER, 0, STAGE_NEVER, cues);
    stage_finish(0);
    assert_int_equal(s.ret[0], 0);
    assert_int_equal(s.report[0].freed, 1);
    assert_int_equal(s.m->late, 0);
    scene_close(&s);
}

static void every_wait_is_met(void **state)
{
    (void)state;
    if (quickness() > 1)
        skip();
    every_wait_was_met();
}

/* With an argument: this group alone, in this process. */
int main(int argc, char **argv)
{
    struct CMUnitTest tests[GROUPS + 3] = {
        cmocka_unit_test(every_point_has_a_way),
        cmocka_unit_test(nobody_is_called_for_what_was_freed),
        [GROUPS + 2] = cmocka_unit_test(every_wait_is_met), /* when all have met theirs */
    };

    if (!KL_DEBUG) {
        puts("1..0 # SKIP trace points stop threads in debug builds only");
        return 77;
    }
    share_waits();
    for (unsigned i = 0; i < GROUPS; i++) {
        struct group *group = &groups[i];

        tests[2 + i] = (struct CMUnitTest){group->name, both_orders_of, NULL, NULL, group};
        if (argc > 1 && strcmp(argv[1], group->name + strlen(ORDERS)) == 0)
            return run_group(group);
    }
    for (unsigned i = 0; i < GROUPS; i++)
        start_group(&groups[i]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
