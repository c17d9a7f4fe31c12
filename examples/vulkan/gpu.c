// SPDX-License-Identifier: Apache-2.0
/* gpu.c - device, memory, buffers and jobs.
 *
 * All buffers have the same usage and flags, so that by Vulkan's rules they have the same memory
 * types and alignment: what was asked once, of the buffer over the whole memory, holds for
 * all of them. */
#include "gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USAGE                                                                                      \
    (VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT |                         \
     VK_BUFFER_USAGE_VERTEX_BUFFER_BIT | VK_BUFFER_USAGE_STORAGE_BUFFER_BIT)
#define FRAME   65536u
#define NO_TYPE UINT32_MAX

void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

void vk(VkResult result, const char *what)
{
    char why[32];

    if (result == VK_SUCCESS)
        return;
    snprintf(why, sizeof(why), "VkResult %d", result);
    die(what, why);
}

/* ---- instance and device -------------------------------------------------- */

static bool open_instance(struct gpu *gpu)
{
    const VkApplicationInfo program = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                       .pApplicationName = "klotski example",
                                       .apiVersion = VK_API_VERSION_1_1};
    const VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                       .pApplicationInfo = &program};

    return vkCreateInstance(&info, NULL, &gpu->instance) == VK_SUCCESS;
}

/* Queues for graphics or computing can copy, too. */
static bool find_family(struct gpu *gpu)
{
    const VkQueueFlags can_copy =
        VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT | VK_QUEUE_TRANSFER_BIT;
    VkQueueFamilyProperties family[16];
    uint32_t n = 16;

    vkGetPhysicalDeviceQueueFamilyProperties(gpu->physical, &n, family);
    for (gpu->family = 0; gpu->family < n; gpu->family++) {
        if (family[gpu->family].queueFlags & can_copy)
            return true;
    }
    return false;
}

static bool holds(VkPhysicalDevice physical, uint64_t bytes)
{
    VkPhysicalDeviceMaintenance3Properties most = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &most};

    vkGetPhysicalDeviceProperties(physical, &properties.properties);
    if (properties.properties.apiVersion < VK_API_VERSION_1_1)
        return false;
    vkGetPhysicalDeviceProperties2(physical, &properties);
    return most.maxMemoryAllocationSize >= bytes;
}

static bool find_physical(struct gpu *gpu, uint64_t bytes)
{
    VkPhysicalDeviceProperties properties;
    VkPhysicalDevice device[8];
    uint32_t n = 8;
    VkResult result = vkEnumeratePhysicalDevices(gpu->instance, &n, device);

    if (result != VK_SUCCESS && result != VK_INCOMPLETE)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        gpu->physical = device[i];
        if (!holds(device[i], bytes) || !find_family(gpu))
            continue;
        vkGetPhysicalDeviceProperties(device[i], &properties);
        memcpy(gpu->name, properties.deviceName, sizeof(gpu->name));
        return true;
    }
    return false;
}

static void open_device(struct gpu *gpu)
{
    const float priority = 1;
    const VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                           .queueFamilyIndex = gpu->family,
                                           .queueCount = 1,
                                           .pQueuePriorities = &priority};
    const VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                     .queueCreateInfoCount = 1,
                                     .pQueueCreateInfos = &queue};
    const VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                          .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                          .queueFamilyIndex = gpu->family};

    vk(vkCreateDevice(gpu->physical, &info, NULL, &gpu->device), "device");
    vkGetDeviceQueue(gpu->device, gpu->family, 0, &gpu->queue);
    vk(vkCreateCommandPool(gpu->device, &pool, NULL, &gpu->pool), "command pool");
}

/* ---- memory and buffers --------------------------------------------------- */

static VkBuffer new_buffer(struct gpu *gpu, uint64_t bytes, VkMemoryRequirements *needs)
{
    const VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                                     .size = bytes,
                                     .usage = USAGE,
                                     .sharingMode = VK_SHARING_MODE_EXCLUSIVE};
    VkBuffer buffer;

    vk(vkCreateBuffer(gpu->device, &info, NULL, &buffer), "buffer");
    vkGetBufferMemoryRequirements(gpu->device, buffer, needs);
    if (FRAME % needs->alignment != 0)
        die("buffer", "its alignment is no part of a frame");
    return buffer;
}

/* The first of the types that has these properties and so much in its heap. */
static uint32_t find_type(struct gpu *gpu, const VkMemoryRequirements *needs,
                          VkMemoryPropertyFlags flags)
{
    VkPhysicalDeviceMemoryProperties has;

    vkGetPhysicalDeviceMemoryProperties(gpu->physical, &has);
    for (uint32_t i = 0; i < has.memoryTypeCount; i++) {
        const VkMemoryType *type = &has.memoryTypes[i];

        if ((needs->memoryTypeBits >> i & 1) && (type->propertyFlags & flags) == flags &&
            has.memoryHeaps[type->heapIndex].size >= needs->size)
            return i;
    }
    return NO_TYPE;
}

static VkDeviceMemory new_memory(struct gpu *gpu, const VkMemoryRequirements *needs, uint32_t type)
{
    const VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                       .allocationSize = needs->size,
                                       .memoryTypeIndex = type};
    VkDeviceMemory memory;

    vk(vkAllocateMemory(gpu->device, &info, NULL, &memory), "memory");
    return memory;
}

static bool open_memory(struct gpu *gpu, uint64_t bytes)
{
    VkMemoryRequirements needs;
    uint32_t type;

    gpu->whole = new_buffer(gpu, bytes, &needs);
    type = find_type(gpu, &needs, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
    if (type == NO_TYPE)
        return false;
    gpu->bytes = bytes;
    gpu->memory = new_memory(gpu, &needs, type);
    vk(vkBindBufferMemory(gpu->device, gpu->whole, gpu->memory, 0), "bind");
    return true;
}

/* There is always a type that is visible and coherent. */
static void open_staging(struct gpu *gpu, uint64_t bytes)
{
    VkMemoryRequirements needs;
    uint32_t type;
    void *map;

    gpu->staging = new_buffer(gpu, bytes, &needs);
    type = find_type(gpu, &needs,
                     VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT);
    if (type == NO_TYPE)
        die("staging buffer", "no memory that is visible");
    gpu->staging_memory = new_memory(gpu, &needs, type);
    vk(vkBindBufferMemory(gpu->device, gpu->staging, gpu->staging_memory, 0), "bind");
    vk(vkMapMemory(gpu->device, gpu->staging_memory, 0, VK_WHOLE_SIZE, 0, &map), "map");
    gpu->staged = map;
    gpu->staging_bytes = bytes;
}

VkBuffer gpu_buffer(struct gpu *gpu, uint64_t bytes, uint64_t offset)
{
    VkMemoryRequirements needs;
    VkBuffer buffer = new_buffer(gpu, bytes, &needs);

    vk(vkBindBufferMemory(gpu->device, buffer, gpu->memory, offset), "bind");
    return buffer;
}

uint64_t gpu_buffer_needs(struct gpu *gpu, uint64_t bytes)
{
    VkMemoryRequirements needs;

    vkDestroyBuffer(gpu->device, new_buffer(gpu, bytes, &needs), NULL);
    return needs.size;
}

/* ---- jobs ----------------------------------------------------------------- */

void gpu_job_create(struct gpu *gpu, struct gpu_job *job)
{
    const VkCommandBufferAllocateInfo commands = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = gpu->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1};
    const VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};

    vk(vkAllocateCommandBuffers(gpu->device, &commands, &job->commands), "command buffer");
    vk(vkCreateFence(gpu->device, &fence, NULL, &job->fence), "fence");
    job->busy = false;
}

void gpu_job_destroy(struct gpu *gpu, struct gpu_job *job)
{
    vkDestroyFence(gpu->device, job->fence, NULL);
    vkFreeCommandBuffers(gpu->device, gpu->pool, 1, &job->commands);
}

/* What was written before is seen by what reads after. */
static void barrier(VkCommandBuffer commands)
{
    const VkMemoryBarrier all = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                 .srcAccessMask = VK_ACCESS_MEMORY_WRITE_BIT,
                                 .dstAccessMask =
                                     VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT};
    const VkPipelineStageFlags stages =
        VK_PIPELINE_STAGE_ALL_COMMANDS_BIT | VK_PIPELINE_STAGE_HOST_BIT;

    vkCmdPipelineBarrier(commands, stages, stages, 0, 1, &all, 0, NULL, 0, NULL);
}

void gpu_job_begin(struct gpu *gpu, struct gpu_job *job)
{
    const VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                           .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};

    vk(vkResetFences(gpu->device, 1, &job->fence), "fence");
    vk(vkBeginCommandBuffer(job->commands, &info), "command buffer");
    barrier(job->commands);
}

void gpu_job_submit(struct gpu *gpu, struct gpu_job *job)
{
    const VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                               .commandBufferCount = 1,
                               .pCommandBuffers = &job->commands};

    barrier(job->commands);
    vk(vkEndCommandBuffer(job->commands), "command buffer");
    vk(vkQueueSubmit(gpu->queue, 1, &info, job->fence), "submit");
    job->busy = true;
}

bool gpu_job_done(struct gpu *gpu, struct gpu_job *job)
{
    VkResult result = job->busy ? vkGetFenceStatus(gpu->device, job->fence) : VK_SUCCESS;

    if (result == VK_NOT_READY)
        return false;
    vk(result, "fence");
    job->busy = false;
    return true;
}

void gpu_job_wait(struct gpu *gpu, struct gpu_job *job)
{
    if (job->busy)
        vk(vkWaitForFences(gpu->device, 1, &job->fence, VK_TRUE, UINT64_MAX), "fence");
    job->busy = false;
}

/* ---- contents ------------------------------------------------------------- */

static void copy_now(struct gpu *gpu, VkBuffer from, VkBuffer to, uint64_t n)
{
    const VkBufferCopy region = {.size = n};

    if (n > gpu->staging_bytes)
        die("contents", "more than the staging buffer holds");
    gpu_job_begin(gpu, &gpu->upload);
    vkCmdCopyBuffer(gpu->upload.commands, from, to, 1, &region);
    gpu_job_submit(gpu, &gpu->upload);
    gpu_job_wait(gpu, &gpu->upload);
}

void gpu_write(struct gpu *gpu, VkBuffer buffer, const void *bytes, uint64_t n)
{
    memcpy(gpu->staged, bytes, n);
    copy_now(gpu, gpu->staging, buffer, n);
}

const void *gpu_read(struct gpu *gpu, VkBuffer buffer, uint64_t n)
{
    copy_now(gpu, buffer, gpu->staging, n);
    return gpu->staged;
}

/* ---- begin and end -------------------------------------------------------- */

bool gpu_open(struct gpu *gpu, uint64_t bytes, uint64_t staging_bytes)
{
    memset(gpu, 0, sizeof(*gpu));
    if (!open_instance(gpu))
        return false;
    if (!find_physical(gpu, bytes)) {
        gpu_close(gpu);
        return false;
    }
    open_device(gpu);
    if (!open_memory(gpu, bytes)) {
        gpu_close(gpu);
        return false;
    }
    open_staging(gpu, staging_bytes);
    gpu_job_create(gpu, &gpu->upload);
    for (int i = 0; i < COPY_SLOTS; i++)
        gpu_job_create(gpu, &gpu->copy[i].job);
    return true;
}

/* Of what there is; the functions that destroy take VK_NULL_HANDLE. */
void gpu_close(struct gpu *gpu)
{
    if (gpu->device) {
        vk(vkDeviceWaitIdle(gpu->device), "device");
        for (int i = 0; i < COPY_SLOTS && gpu->staging; i++)
            gpu_job_destroy(gpu, &gpu->copy[i].job);
        if (gpu->staging)
            gpu_job_destroy(gpu, &gpu->upload);
        vkDestroyBuffer(gpu->device, gpu->staging, NULL);
        vkFreeMemory(gpu->device, gpu->staging_memory, NULL);
        vkDestroyBuffer(gpu->device, gpu->whole, NULL);
        vkFreeMemory(gpu->device, gpu->memory, NULL);
        vkDestroyCommandPool(gpu->device, gpu->pool, NULL);
        vkDestroyDevice(gpu->device, NULL);
    }
    vkDestroyInstance(gpu->instance, NULL);
}
