// SPDX-License-Identifier: Apache-2.0
/* gpu.h - as much of Vulkan as the example needs: a device with one queue, one piece of its
 * memory, buffers in that, and a queue of copies.  What fails and should not ends the program with
 * a message.  One thread. */
#ifndef EXAMPLE_GPU_H
#define EXAMPLE_GPU_H

#include <klotski/klotski.h>

#include <vulkan/vulkan.h>

enum { MIB = 1 << 20, COPY_SLOTS = 4 };

/* A command buffer, and what signals that it was executed. */
struct gpu_job {
    VkCommandBuffer commands;
    VkFence fence;
    bool busy;
};

struct gpu {
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    VkQueue queue;
    VkCommandPool pool;
    uint32_t family;
    char name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];
    VkDeviceMemory memory; /* the zone's */
    uint64_t bytes;
    VkBuffer whole; /* all of it, for copies from offset to offset */
    VkDeviceMemory staging_memory;
    VkBuffer staging; /* in memory that this program sees, too */
    unsigned char *staged;
    uint64_t staging_bytes;
    struct gpu_job upload;
    struct {
        struct gpu_job job;
        struct kl_heap_batch *batch;
    } copy[COPY_SLOTS];
};

void vk(VkResult result, const char *what);
_Noreturn void die(const char *what, const char *why);

/* false: there is no Vulkan here, or no device that can hold so much. */
bool gpu_open(struct gpu *gpu, uint64_t bytes, uint64_t staging_bytes);
void gpu_close(struct gpu *gpu);

/* Jobs: recording begins; it is handed to the queue; it has been executed (and can be used
 * again). */
void gpu_job_create(struct gpu *gpu, struct gpu_job *job);
void gpu_job_destroy(struct gpu *gpu, struct gpu_job *job);
void gpu_job_begin(struct gpu *gpu, struct gpu_job *job);
void gpu_job_submit(struct gpu *gpu, struct gpu_job *job);
bool gpu_job_done(struct gpu *gpu, struct gpu_job *job);
void gpu_job_wait(struct gpu *gpu, struct gpu_job *job);

/* A buffer of so many bytes at that offset of the memory, which outlives it; how many bytes
 * it needs there. */
VkBuffer gpu_buffer(struct gpu *gpu, uint64_t bytes, uint64_t offset);
uint64_t gpu_buffer_needs(struct gpu *gpu, uint64_t bytes);

/* Contents, through the staging buffer; wait for the device. */
void gpu_write(struct gpu *gpu, VkBuffer buffer, const void *bytes, uint64_t n);
const void *gpu_read(struct gpu *gpu, VkBuffer buffer, uint64_t n);

/* The queue of copies (copies.c): fits kl_heap_ops.submit, ctx being the gpu.  poll reports
 * what is done (kl_heap_done). */
int gpu_copies_submit(void *gpu, const struct kl_copy *copies, size_t n,
                      struct kl_heap_batch *batch);
void gpu_copies_poll(struct gpu *gpu);
void gpu_copies_wait(struct gpu *gpu);

#endif
