// SPDX-License-Identifier: Apache-2.0
/* copies.c - the queue that moves buffers: each batch is one command buffer of vkCmdCopyBuffer,
 * and a fence that is looked at once a frame.
 *
 * Copies name offsets in the memory, not buffers.  So they go through one buffer over all of it:
 * Vulkan lets buffers share memory, and sees the same bytes through each.  The regions of a
 * batch don't overlap: sources are in use, destinations were free. */
#include "gpu.h"

enum { MOST_REGIONS = 256 };

static void record(struct gpu *gpu, VkCommandBuffer commands, const struct kl_copy *copies,
                   size_t n)
{
    VkBufferCopy region[MOST_REGIONS];

    while (n > 0) {
        uint32_t k = 0;

        for (; k < MOST_REGIONS && k < n; k++)
            region[k] = (VkBufferCopy){
                .srcOffset = copies[k].src, .dstOffset = copies[k].dst, .size = copies[k].bytes};
        vkCmdCopyBuffer(commands, gpu->whole, gpu->whole, k, region);
        copies += k;
        n -= k;
    }
}

int gpu_copies_submit(void *ctx, const struct kl_copy *copies, size_t n,
                      struct kl_heap_batch *batch)
{
    struct gpu *gpu = ctx;

    for (int i = 0; i < COPY_SLOTS; i++) {
        struct gpu_job *job = &gpu->copy[i].job;

        if (job->busy)
            continue;
        gpu_job_begin(gpu, job);
        record(gpu, job->commands, copies, n);
        gpu_job_submit(gpu, job);
        gpu->copy[i].batch = batch;
        return 0;
    }
    return -KL_EAGAIN;
}

void gpu_copies_poll(struct gpu *gpu)
{
    for (int i = 0; i < COPY_SLOTS; i++) {
        if (gpu->copy[i].job.busy && gpu_job_done(gpu, &gpu->copy[i].job))
            kl_heap_done(gpu->copy[i].batch, 0);
    }
}

void gpu_copies_wait(struct gpu *gpu)
{
    for (int i = 0; i < COPY_SLOTS; i++) {
        if (!gpu->copy[i].job.busy)
            continue;
        gpu_job_wait(gpu, &gpu->copy[i].job);
        kl_heap_done(gpu->copy[i].batch, 0);
    }
}
