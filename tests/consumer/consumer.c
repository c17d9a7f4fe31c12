// SPDX-License-Identifier: Apache-2.0
/* A C11 program as a user of the installed library writes one: a zone on a
 * memfd, frames of its own, objects of zsmalloc.  Exits 1 at the first value
 * that is not what the headers promise. */
#include <klotski/klotski.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static void use_frames(struct kl_zone *zone)
{
    struct kl_owner_ops ops = {.size = sizeof(ops), .name = "consumer"};
    kl_owner_id owner = {0};
    kl_pfn frame = {0};

    EXPECT(kl_owner_register(zone, &ops, NULL, &owner) == 0);
    EXPECT(kl_frame_alloc(zone, 2, owner, KL_ZERO, &frame) == 0);
    unsigned char *mem = kl_frame_addr(zone, frame);
    EXPECT(mem != NULL);
    EXPECT(mem[0] == 0 && mem[4 * kl_zone_frame_bytes(zone) - 1] == 0);
    memset(mem, 0x5a, 4 * kl_zone_frame_bytes(zone));
    EXPECT(kl_frame_alloc(zone, 2, owner, KL_MOVABLE, &frame) == -KL_EINVAL);
    EXPECT(kl_owner_unregister(zone, owner) == -KL_EBUSY);
    EXPECT(kl_frame_free(zone, owner, frame) == 0);
    EXPECT(kl_frame_free(zone, owner, frame) == -KL_EINVAL);
    EXPECT(kl_owner_unregister(zone, owner) == 0);
}

static void use_objects(struct kl_zone *zone)
{
    static const char text[] = "every page can move";
    struct kl_zs *pool = NULL;
    kl_handle handles[100];
    char back[sizeof(text)];

    EXPECT(kl_zs_create(zone, NULL, &pool) == 0);
    for (size_t i = 0; i < 100; i++) {
        EXPECT(kl_zs_malloc(pool, 1000 + i, 0, &handles[i]) == 0);
        EXPECT(kl_zs_write(pool, handles[i], i, text, sizeof(text)) == 0);
    }
    for (size_t i = 0; i < 100; i++) {
        memset(back, 0, sizeof(back));
        EXPECT(kl_zs_read(pool, handles[i], i, back, sizeof(back)) == 0);
        EXPECT(memcmp(back, text, sizeof(text)) == 0);
        EXPECT(kl_zs_free(pool, handles[i]) == 0);
        EXPECT(kl_zs_free(pool, handles[i]) == -KL_ESTALE);
    }
    EXPECT(kl_zs_check(pool, NULL) == 0);
    EXPECT(kl_zs_destroy(pool) == 0);
}

int main(void)
{
    struct kl_linux_backing_config memory = {
        .size = sizeof(memory), .kind = KL_LINUX_MEMFD, .bytes = 8u << 20};
    struct kl_linux_backing *backing = NULL;
    struct kl_zone *zone = NULL;

    EXPECT(kl_linux_backing_create(&memory, &backing) == 0);
    EXPECT(kl_linux_backing_kind(backing) == KL_LINUX_MEMFD);
    struct kl_zone_config config = {
        .size = sizeof(config), .host = kl_linux_host(), .backing = kl_linux_backing_get(backing)};
    EXPECT(kl_zone_create(&config, &zone) == 0);
    EXPECT(kl_zone_frames(zone) == 2048);

    use_frames(zone);
    use_objects(zone);

    EXPECT(kl_zone_check(zone, NULL) == 0);
    EXPECT(kl_zone_destroy(zone) == 0);
    EXPECT(kl_linux_backing_resident(backing) == 0);
    kl_linux_backing_destroy(backing);
    return 0;
}
