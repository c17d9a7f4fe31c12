// SPDX-License-Identifier: Apache-2.0
/* heap.c - a program's buffers in one piece of Vulkan memory, which moves them so that a large
 * one fits.
 *
 * 256 MiB of device memory are the memory of a zone without addresses, in blocks of 16 MiB.
 * Buffers of many sizes are bound where kl_heap_alloc says.  When some have gone, no 16 MiB are
 * free in one piece.  Then each frame starts a pass, bounded in bytes: its copies go to the
 * device's queue (copies.c), and when they are done `moved` binds a new VkBuffer to the new place.
 * The old one may still be in commands of the frame, and is destroyed after it.
 *
 * A frame uses some buffers (kl_heap_use): they stay where they are until it is over.  One
 * thread: what the device has done is looked at once a frame, so nothing here may wait for a
 * copy, and kl_heap_alloc is told not to move others.
 *
 * All contents are read back in the end and compared.  77: there is no Vulkan here. */
#include "gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES = 256 * MIB, LARGE = 16 * MIB, MOST = 4096, OLD = 256 };
enum { IN_FRAME = 4, SAMPLE = 4096, FRAMES = 2000, PASS = 4 * MIB };

struct buffer {
    kl_buffer_id id;
    VkBuffer handle; /* VK_NULL_HANDLE: there is none */
    uint64_t bytes;
    uint32_t seed;
};

static struct gpu gpu;
static struct kl_zone *zone;
static struct kl_heap *heap;
static struct buffer buffer[MOST], large;
static uint32_t buffers, random_state = 1;
static VkBuffer old[OLD]; /* to be destroyed after the frame */
static uint32_t olds;
static unsigned char *scratch; /* of LARGE bytes */

/* The frame under way. */
static struct {
    struct gpu_job job;
    struct buffer *uses[IN_FRAME];
    uint32_t n;
} frame;

static void must(int err, const char *what)
{
    if (err)
        die(what, kl_err_text(err));
}

static uint32_t below(uint32_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return (uint32_t)((uint64_t)random_state * n >> 32);
}

/* ---- buffers --------------------------------------------------------------- */

static void fill(unsigned char *bytes, uint64_t n, uint32_t seed)
{
    for (uint64_t i = 0; i + 8 <= n; i += 8) {
        uint64_t word = (i + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ (uint64_t)seed << 20;

        memcpy(bytes + i, &word, 8);
    }
}

/* -KL_ENOMEM: it can't be had, unless others move. */
static int buffer_open(struct buffer *b, uint64_t bytes, uint32_t seed)
{
    uint64_t offset, there;
    int err = kl_heap_alloc(heap, gpu_buffer_needs(&gpu, bytes), KL_NO_MOVE, b, &b->id);

    if (err)
        return err;
    b->bytes = bytes;
    b->seed = seed;
    must(kl_heap_where(heap, b->id, &offset, &there), "where");
    b->handle = gpu_buffer(&gpu, bytes, offset);
    fill(scratch, bytes, seed);
    gpu_write(&gpu, b->handle, scratch, bytes);
    return 0;
}

static void buffer_close(struct buffer *b)
{
    must(kl_heap_free(heap, b->id), "free");
    vkDestroyBuffer(gpu.device, b->handle, NULL);
    b->handle = VK_NULL_HANDLE;
}

static bool buffer_right(const struct buffer *b)
{
    fill(scratch, b->bytes, b->seed);
    return memcmp(gpu_read(&gpu, b->handle, b->bytes), scratch, b->bytes) == 0;
}

/* Of kl_heap_ops: the contents are at dst. */
static void moved(void *ctx, const struct kl_heap_move *move)
{
    struct buffer *b = move->user;

    (void)ctx;
    if (olds == OLD)
        die("moved", "too many buffers wait for the end of the frame");
    old[olds++] = b->handle;
    b->handle = gpu_buffer(&gpu, b->bytes, move->dst);
}

/* ---- frames ---------------------------------------------------------------- */

/* Reads a little of some buffers, each through its own handle. */
static void frame_begin(void)
{
    gpu_job_begin(&gpu, &frame.job);
    for (frame.n = 0; frame.n < IN_FRAME;) {
        struct buffer *b = &buffer[below(buffers)];
        const VkBufferCopy region = {.dstOffset = (uint64_t)frame.n * SAMPLE, .size = SAMPLE};
        uint64_t offset;

        if (!b->handle || kl_heap_use(heap, b->id, KL_ASYNC, &offset) != 0)
            continue; /* gone, or being copied */
        vkCmdCopyBuffer(frame.job.commands, b->handle, gpu.staging, 1, &region);
        frame.uses[frame.n++] = b;
    }
    gpu_job_submit(&gpu, &frame.job);
}

static void frame_end(void)
{
    unsigned char sample[SAMPLE];

    gpu_job_wait(&gpu, &frame.job);
    for (uint32_t i = 0; i < frame.n; i++) {
        must(kl_heap_unuse(heap, frame.uses[i]->id), "unuse");
        fill(sample, SAMPLE, frame.uses[i]->seed);
        if (memcmp(gpu.staged + (size_t)i * SAMPLE, sample, SAMPLE) != 0)
            die("frame", "a buffer has the wrong contents");
    }
    frame.n = 0;
    while (olds > 0)
        vkDestroyBuffer(gpu.device, old[--olds], NULL);
}

/* Frames with a pass each until the large buffer fits; how many passes moved something. */
static uint32_t make_room(uint64_t *bytes, uint32_t *moves)
{
    uint32_t passes = 0;

    for (uint32_t n = 0; n < FRAMES; n++) {
        struct kl_pass pass = {.size = sizeof(pass), .max_bytes = PASS};
        int err;

        frame_begin();
        gpu_copies_poll(&gpu);
        err = kl_heap_pass(heap, &pass);
        if (err && err != -KL_EAGAIN)
            must(err, "pass");
        passes += pass.moves > 0;
        *bytes += pass.bytes;
        *moves += pass.moves;
        frame_end();
        err = buffer_open(&large, LARGE, 12345);
        if (err == 0)
            return passes;
        if (err != -KL_ENOMEM)
            must(err, "large buffer");
    }
    die("large buffer", "it can't be had");
}

/* ---- the whole of it --------------------------------------------------------- */

static void say(const char *what, const char *then)
{
    struct kl_zone_stats s = {.size = sizeof(s)};
    uint32_t n = 0;

    kl_zone_get_stats(zone, &s);
    for (uint32_t i = 0; i < buffers; i++)
        n += buffer[i].handle != VK_NULL_HANDLE;
    printf("%-12s %8u %11.1f %12u   %s\n", what, n,
           (double)s.used_frames * (double)s.frame_bytes / MIB, s.free_blocks, then);
}

static void fill_memory(void)
{
    static const uint32_t kib[] = {24, 100, 341, 512, 1024, 1365, 2048, 4096};

    while (buffers < MOST) {
        uint64_t bytes = (uint64_t)kib[below(8)] << 10;

        if (buffer_open(&buffer[buffers], bytes, buffers) != 0)
            break;
        buffers++;
    }
    say("filled", "");
}

/* Half of the buffers, but in each block one stays. */
static void free_some(void)
{
    uint32_t left[BYTES / LARGE] = {0};
    uint64_t offset;

    for (uint32_t i = 0; i < buffers; i++) {
        must(kl_heap_where(heap, buffer[i].id, &offset, NULL), "where");
        left[offset / LARGE]++;
    }
    for (uint32_t i = 0; i < buffers; i++) {
        must(kl_heap_where(heap, buffer[i].id, &offset, NULL), "where");
        if (below(2) == 0 || left[offset / LARGE] == 1)
            continue;
        left[offset / LARGE]--;
        buffer_close(&buffer[i]);
    }
}

static uint32_t count_wrong(void)
{
    uint32_t wrong = !buffer_right(&large);

    for (uint32_t i = 0; i < buffers; i++)
        wrong += buffer[i].handle && !buffer_right(&buffer[i]);
    return wrong;
}

static void open_all(void)
{
    static const struct kl_heap_ops ops = {
        .size = sizeof(ops), .name = "vulkan", .submit = gpu_copies_submit, .moved = moved};
    struct kl_zone_config config = {.size = sizeof(config), .host = kl_linux_host()};
    struct kl_backing backing;

    must(kl_backing_offsets(&backing, BYTES, 16, 8), "backing"); /* 256 frames of 64 KiB */
    config.backing = &backing;
    must(kl_zone_create(&config, &zone), "zone");
    must(kl_heap_create(zone, &ops, &gpu, &heap), "heap");
    gpu_job_create(&gpu, &frame.job);
    scratch = malloc(LARGE);
    if (!scratch)
        die("scratch", "no memory");
}

static void close_all(void)
{
    gpu_copies_wait(&gpu);
    frame_end();
    buffer_close(&large);
    for (uint32_t i = 0; i < buffers; i++) {
        if (buffer[i].handle)
            buffer_close(&buffer[i]);
    }
    must(kl_heap_destroy(heap), "heap's end");
    must(kl_zone_destroy(zone), "zone's end");
    gpu_job_destroy(&gpu, &frame.job);
    gpu_close(&gpu);
    free(scratch);
}

int main(void)
{
    uint32_t passes, moves = 0, wrong;
    uint64_t bytes = 0;
    int err;

    if (!gpu_open(&gpu, BYTES, LARGE)) {
        fprintf(stderr, "skip: no Vulkan device with %d MiB\n", BYTES / MIB);
        return 77;
    }
    open_all();
    printf("%s: %d MiB in blocks of %d MiB\n", gpu.name, BYTES / MIB, LARGE / MIB);
    printf("%-12s %8s %11s %12s\n", "", "buffers", "MiB in use", "blocks free");
    fill_memory();
    free_some();
    err = buffer_open(&large, LARGE, 12345);
    say("some freed", err == -KL_ENOMEM ? "a buffer of 16 MiB can't be had" : "");
    if (err == 0)
        die("large buffer", "it fits already");
    passes = make_room(&bytes, &moves);
    gpu_copies_wait(&gpu);
    say("moved", "it can");
    printf("%u buffers moved, %.1f MiB, in %u passes of at most %d MiB\n", moves,
           (double)bytes / MIB, passes, PASS / MIB);
    wrong = count_wrong();
    printf("contents wrong: %u\n", wrong);
    close_all();
    return wrong != 0 || moves == 0;
}
