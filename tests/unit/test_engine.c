// SPDX-License-Identifier: Apache-2.0
/* The copy engine in software: what it copies, refuses, and reports; a queue that is full,
 * and one that is ended in the middle of its work.  A batch here is a number. */
#include "support/fixture.h"

#include "klotski/heap.h"

#include <pthread.h>
#include <semaphore.h>
#include <string.h>

enum { BYTES = 1 << 20, CHUNK = 4096, LOG = 4096 }; /* BYTES: 16 blocks of 16 frames, too */

static struct {
    struct kl_linux_engine *engine;
    unsigned char *memory;
    pthread_mutex_t lock;
    uintptr_t log[LOG]; /* batches, in the order in which they were done */
    unsigned done, failed;
    bool gated; /* each report waits for one post */
    sem_t gate;
    unsigned again; /* batches that done is to submit */
} t = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int submit_one(uint64_t dst, uint64_t src, uint64_t bytes, uintptr_t number)
{
    struct kl_copy copy = {.dst = dst, .src = src, .bytes = bytes};

    return kl_linux_engine_submit(t.engine, &copy, 1, (struct kl_heap_batch *)number);
}

static void done(struct kl_heap_batch *batch, int result)
{
    bool again;

    while (t.gated && sem_wait(&t.gate) != 0)
        ;
    pthread_mutex_lock(&t.lock);
    t.log[t.done++ % LOG] = (uintptr_t)batch;
    t.failed += result != 0;
    again = t.again > 0 && t.again-- > 0;
    pthread_mutex_unlock(&t.lock);
    if (again && submit_one(0, CHUNK, CHUNK, (uintptr_t)batch + 1) != 0)
        abort();
}

static struct kl_linux_engine_config ready(void)
{
    return (struct kl_linux_engine_config){.size = sizeof(struct kl_linux_engine_config),
                                           .base = t.memory,
                                           .bytes = BYTES,
                                           .done = done};
}

static int begin(void **state)
{
    (void)state;
    t.memory = malloc(BYTES);
    t.done = t.failed = t.again = 0;
    t.gated = false;
    return !t.memory || sem_init(&t.gate, 0, 0) != 0;
}

static int end(void **state)
{
    (void)state;
    sem_destroy(&t.gate);
    free(t.memory);
    return 0;
}

static void open_engine(const struct kl_linux_engine_config *config)
{
    assert_int_equal(kl_linux_engine_create(config, &t.engine), 0);
}

static struct kl_linux_engine_stats stats(void)
{
    struct kl_linux_engine_stats s = {.size = sizeof(s)};

    kl_linux_engine_get_stats(t.engine, &s);
    return s;
}

/* Piece 0 moves on by one each time, in batches of four: all of them arrive, in order. */
static void copies_in_order(void **state)
{
    enum { BATCHES = 60, EACH = 4 };
    struct kl_linux_engine_config config = ready();
    struct kl_linux_engine_stats s;

    (void)state;
    config.batches = 8;
    config.copies = 32;
    open_engine(&config);
    fill_bytes(t.memory, CHUNK, 99);
    for (uintptr_t i = 0; i < BATCHES;) {
        struct kl_copy copy[EACH];

        for (uintptr_t k = 0; k < EACH; k++)
            copy[k] = (struct kl_copy){
                .src = (i * EACH + k) * CHUNK, .dst = (i * EACH + k + 1) * CHUNK, .bytes = CHUNK};
        int err = kl_linux_engine_submit(t.engine, copy, EACH, (struct kl_heap_batch *)(i + 1));

        assert_true(err == 0 || err == -KL_EAGAIN);
        if (err)
            kl_linux_engine_wait(t.engine);
        i += err == 0;
    }
    kl_linux_engine_wait(t.engine);
    for (unsigned i = 0; i <= BATCHES * EACH; i++)
        assert_true(bytes_are(t.memory + (size_t)i * CHUNK, CHUNK, 99));
    assert_int_equal(t.done, BATCHES);
    assert_int_equal(t.failed, 0);
    for (unsigned i = 0; i < BATCHES; i++)
        assert_int_equal(t.log[i], i + 1);
    s = stats();
    assert_int_equal(s.batches, BATCHES);
    assert_int_equal(s.copies, BATCHES * EACH);
    assert_int_equal(s.bytes, BATCHES * EACH * CHUNK);
    assert_int_equal(s.queued, 0);
    assert_true(s.most >= 1 && s.most <= 8);
    kl_linux_engine_destroy(t.engine);
}

/* With one such copy among good ones the batch is refused, and nothing is copied. */
static void refuse(struct kl_copy bad, int err)
{
    struct kl_copy copy[3] = {{.dst = 0, .src = CHUNK, .bytes = CHUNK}, bad, {.dst = 0}};

    copy[2] = copy[0];
    assert_int_equal(kl_linux_engine_submit(t.engine, copy, 3, NULL), err);
}

static void refuses_what_is_not_valid(void **state)
{
    struct kl_linux_engine_config config = ready();
    static const struct kl_copy many[5] = {{.dst = 0, .src = 64, .bytes = 64}};

    (void)state;
    config.copies = 4;
    open_engine(&config);
    memset(t.memory, 1, BYTES);
    memset(t.memory + CHUNK, 2, CHUNK);
    refuse((struct kl_copy){.dst = 0, .src = CHUNK, .bytes = 0}, -KL_EINVAL);
    refuse((struct kl_copy){.dst = BYTES - 1, .src = 0, .bytes = 2}, -KL_ERANGE);
    refuse((struct kl_copy){.dst = 0, .src = BYTES - 1, .bytes = 2}, -KL_ERANGE);
    refuse((struct kl_copy){.dst = UINT64_MAX - 1, .src = 0, .bytes = 4}, -KL_ERANGE);
    refuse((struct kl_copy){.dst = 0, .src = UINT64_MAX, .bytes = UINT64_MAX}, -KL_ERANGE);
    refuse((struct kl_copy){.dst = 0, .src = 1, .bytes = BYTES}, -KL_ERANGE);
    refuse((struct kl_copy){.dst = 8, .src = 0, .bytes = 9}, -KL_EINVAL);
    refuse((struct kl_copy){.dst = 0, .src = 8, .bytes = 9}, -KL_EINVAL);
    refuse((struct kl_copy){.dst = 8, .src = 8, .bytes = 1}, -KL_EINVAL);
    assert_int_equal(kl_linux_engine_submit(t.engine, many, 0, NULL), -KL_EINVAL);
    assert_int_equal(kl_linux_engine_submit(t.engine, many, 5, NULL), -KL_ENOSPC);
    kl_linux_engine_wait(t.engine);
    assert_int_equal(t.done, 0);
    assert_int_equal(t.memory[0], 1);
    assert_int_equal(stats().refused, 11);
    assert_int_equal(submit_one(BYTES - 8, 0, 8, 1), 0); /* up to the end, and side by side */
    assert_int_equal(submit_one(8, 0, 8, 2), 0);
    kl_linux_engine_wait(t.engine);
    assert_int_equal(t.done, 2);
    kl_linux_engine_destroy(t.engine);
}

static void refuses_a_config(const struct kl_linux_engine_config *config)
{
    struct kl_linux_engine *engine = NULL;

    assert_int_equal(kl_linux_engine_create(config, &engine), -KL_EINVAL);
    assert_null(engine);
}

static void configs(void **state)
{
    struct kl_linux_engine_config config = ready();

    (void)state;
    assert_int_equal(kl_linux_engine_create(&config, NULL), -KL_EINVAL);
    refuses_a_config(NULL);
    config.size--;
    refuses_a_config(&config);
    config = ready();
    config.bytes = 0;
    refuses_a_config(&config);
    config.bytes = UINT64_MAX;
    refuses_a_config(&config);
    config = ready();
    config.base = NULL;
    refuses_a_config(&config);
    config = ready();
    config.batches = UINT32_MAX;
    refuses_a_config(&config);
    config = ready();
    config.copies = UINT32_MAX;
    refuses_a_config(&config);
    kl_linux_engine_destroy(NULL);
}

/* The first report waits: so the queue has room for one batch more, and no copies beyond. */
static void a_full_queue(void **state)
{
    struct kl_linux_engine_config config = ready();

    (void)state;
    config.batches = 2;
    t.gated = true;
    open_engine(&config);
    assert_int_equal(submit_one(0, CHUNK, CHUNK, 1), 0);
    assert_int_equal(submit_one(0, CHUNK, CHUNK, 2), 0);
    assert_int_equal(submit_one(0, CHUNK, CHUNK, 3), -KL_EAGAIN);
    assert_int_equal(stats().queued, 2);
    assert_int_equal(stats().full, 1);
    sem_post(&t.gate);
    while (stats().queued > 1)
        sched_yield();
    assert_int_equal(submit_one(0, CHUNK, CHUNK, 4), 0);
    assert_int_equal(stats().most, 2);
    sem_post(&t.gate);
    sem_post(&t.gate);
    kl_linux_engine_wait(t.engine);
    assert_int_equal(t.log[2], 4);
    kl_linux_engine_destroy(t.engine);
}

static void full_of_copies(void **state)
{
    static const struct kl_copy three[3] = {
        {.dst = 0, .src = 64, .bytes = 64},
        {.dst = 128, .src = 64, .bytes = 64},
        {.dst = 256, .src = 64, .bytes = 64},
    };
    struct kl_linux_engine_config config = ready();

    (void)state;
    config.copies = 5;
    t.gated = true;
    open_engine(&config);
    assert_int_equal(submit_one(0, CHUNK, CHUNK, 1), 0);
    while (stats().bytes < CHUNK) /* copied, not reported: its place is free again */
        sched_yield();
    assert_int_equal(kl_linux_engine_submit(t.engine, three, 3, NULL), 0);
    assert_int_equal(kl_linux_engine_submit(t.engine, three, 3, NULL), -KL_EAGAIN);
    assert_int_equal(kl_linux_engine_submit(t.engine, three, 2, NULL), 0);
    for (int i = 0; i < 3; i++)
        sem_post(&t.gate);
    kl_linux_engine_wait(t.engine);
    assert_int_equal(stats().copies, 6);
    kl_linux_engine_destroy(t.engine);
}

/* Whatever is queued is done before it ends. */
static void destroy_drains(void **state)
{
    struct kl_linux_engine_config config = ready();

    (void)state;
    config.bytes_per_second = UINT64_C(1) << 30;
    open_engine(&config);
    fill_bytes(t.memory, CHUNK, 5);
    for (uintptr_t i = 1; i <= 50; i++)
        assert_int_equal(submit_one(i * CHUNK, (i - 1) * CHUNK, CHUNK, i), 0);
    kl_linux_engine_destroy(t.engine);
    assert_int_equal(t.done, 50);
    assert_true(bytes_are(t.memory + (size_t)50 * CHUNK, CHUNK, 5));
}

/* Not faster than the rate; without a base only the time passes. */
static void keeps_to_its_rate(void **state)
{
    struct kl_linux_engine_config config = ready();
    const uint64_t half = BYTES / 2, least = half * 1000000000u / (64u << 20);

    (void)state;
    config.bytes_per_second = 64u << 20;
    open_engine(&config);
    fill_bytes(t.memory + half, half, 7);
    assert_int_equal(submit_one(0, half, half, 1), 0);
    kl_linux_engine_wait(t.engine);
    assert_true(bytes_are(t.memory, half, 7));
    assert_true(stats().busy_ns >= least);
    kl_linux_engine_destroy(t.engine);

    config.base = NULL;
    config.bytes = UINT64_C(1) << 40;
    open_engine(&config);
    assert_int_equal(submit_one(UINT64_C(1) << 39, 0, half, 2), 0);
    kl_linux_engine_wait(t.engine);
    assert_true(stats().busy_ns >= least);
    assert_int_equal(stats().bytes, half);
    assert_int_equal(t.done, 2);
    kl_linux_engine_destroy(t.engine);
}

/* Each report submits the next batch, and destroy waits for all of them. */
static void done_may_submit(void **state)
{
    struct kl_linux_engine_config config = ready();

    (void)state;
    config.copies = 1; /* its place is free before the report */
    t.again = 20;
    open_engine(&config);
    assert_int_equal(submit_one(0, CHUNK, CHUNK, 1), 0);
    kl_linux_engine_destroy(t.engine);
    assert_int_equal(t.done, 21);
    assert_int_equal(t.log[20], 21);
}

enum { THREADS = 4, TURNS = 300 };

/* A quarter of the memory each: its first piece goes from place to place. */
static void *walk(void *arg)
{
    uintptr_t nr = (uintptr_t)arg, first = nr * (BYTES / THREADS), places = BYTES / THREADS / 256;

    for (uintptr_t i = 0; i < TURNS;) {
        int err =
            submit_one(first + (i + 1) % places * 256, first + i % places * 256, 256, nr << 16 | i);

        if (err == -KL_EAGAIN)
            kl_linux_engine_wait(t.engine);
        else if (err)
            return arg ? arg : (void *)(uintptr_t)THREADS;
        i += err == 0;
    }
    return NULL;
}

static void several_submit(void **state)
{
    struct kl_linux_engine_config config = ready();
    uintptr_t next[THREADS] = {0};
    pthread_t thread[THREADS];

    (void)state;
    config.batches = 5;
    open_engine(&config);
    for (uintptr_t i = 0; i < THREADS; i++)
        fill_bytes(t.memory + i * (BYTES / THREADS), 256, i + 1);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, walk, (void *)i), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        void *bad;

        pthread_join(thread[i], &bad);
        assert_null(bad);
    }
    kl_linux_engine_destroy(t.engine);
    assert_int_equal(t.done, THREADS * TURNS);
    for (unsigned i = 0; i < t.done; i++) /* each thread's own are in order */
        assert_int_equal(t.log[i] & 0xffff, next[t.log[i] >> 16]++);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_true(bytes_are(t.memory + i * (BYTES / THREADS) + (size_t)TURNS * 256, 256, i + 1));
}

/* ---- behind a heap, which it reports to by itself ---- */

enum { HEAP_BLOCKS = 16, HEAP_ORDER = 4, BUFFERS = 8 << HEAP_ORDER };

static int submit(void *ctx, const struct kl_copy *copies, size_t n, struct kl_heap_batch *batch)
{
    assert_ptr_equal(ctx, &t);
    return kl_linux_engine_submit(t.engine, copies, n, batch);
}

static unsigned char *where(struct kl_heap *heap, kl_buffer_id id)
{
    uint64_t offset;

    assert_int_equal(kl_heap_where(heap, id, &offset, NULL), 0);
    return t.memory + offset;
}

/* 8 blocks of which a quarter is left: a pass packs them into two. */
static void run_pass(struct kl_zone *zone, struct kl_heap *heap)
{
    struct kl_pass pass = {.size = sizeof(pass)};
    struct kl_zone_stats s = {.size = sizeof(s)};
    kl_buffer_id id[BUFFERS];

    for (unsigned i = 0; i < BUFFERS; i++) {
        assert_int_equal(kl_heap_alloc(heap, CHUNK, 0, NULL, &id[i]), 0);
        fill_bytes(where(heap, id[i]), CHUNK, i);
    }
    for (unsigned i = 0; i < BUFFERS; i++)
        assert_int_equal(i % 4 ? kl_heap_free(heap, id[i]) : 0, 0);
    assert_int_equal(kl_heap_pass(heap, &pass), 0);
    assert_int_equal(pass.moves, 24);
    kl_linux_engine_wait(t.engine);
    assert_int_equal(stats().bytes, pass.bytes);
    kl_zone_get_stats(zone, &s);
    assert_int_equal(s.used_frames, BUFFERS / 4);
    for (unsigned i = 0; i < BUFFERS; i += 4) {
        assert_true(bytes_are(where(heap, id[i]), CHUNK, i));
        assert_int_equal(kl_heap_free(heap, id[i]), 0);
    }
}

static void moves_a_heaps_buffers(void **state)
{
    struct kl_heap_ops ops = {.size = sizeof(ops), .submit = submit};
    struct kl_zone_config zone_config = {.size = sizeof(zone_config), .host = kl_linux_host()};
    struct kl_linux_engine_config config = ready();
    struct kl_backing backing;
    struct kl_heap *heap;
    struct kl_zone *zone;

    (void)state;
    config.done = NULL;
    open_engine(&config);
    assert_int_equal(kl_backing_offsets(&backing, BYTES, 12, HEAP_ORDER), 0);
    zone_config.backing = &backing;
    assert_int_equal(kl_zone_create(&zone_config, &zone), 0);
    assert_int_equal(kl_heap_create(zone, &ops, &t, &heap), 0);
    run_pass(zone, heap);
    assert_int_equal(kl_heap_check(heap, NULL), 0);
    assert_int_equal(kl_heap_destroy(heap), 0);
    assert_zone_ok(zone);
    assert_int_equal(kl_zone_destroy(zone), 0);
    kl_linux_engine_destroy(t.engine);
}

/* Statistics of another version are filled in as far as they go. */
static void statistics_of_another_size(void **state)
{
    struct kl_linux_engine_config config = ready();
    struct kl_linux_engine_stats s = {.size = offsetof(struct kl_linux_engine_stats, bytes)};

    (void)state;
    open_engine(&config);
    assert_int_equal(submit_one(0, CHUNK, CHUNK, 1), 0);
    kl_linux_engine_wait(t.engine);
    kl_linux_engine_get_stats(t.engine, &s);
    assert_int_equal(s.size, offsetof(struct kl_linux_engine_stats, bytes));
    assert_int_equal(s.copies, 1);
    assert_int_equal(s.bytes, 0);
    s = (struct kl_linux_engine_stats){.size = sizeof(s) + 64};
    kl_linux_engine_get_stats(t.engine, &s);
    assert_int_equal(s.size, sizeof(s));
    kl_linux_engine_destroy(t.engine);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(copies_in_order),
        CASE(refuses_what_is_not_valid),
        CASE(configs),
        CASE(a_full_queue),
        CASE(full_of_copies),
        CASE(destroy_drains),
        CASE(keeps_to_its_rate),
        CASE(done_may_submit),
        CASE(several_submit),
        CASE(statistics_of_another_size),
        CASE(moves_a_heaps_buffers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
