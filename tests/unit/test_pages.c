// SPDX-License-Identifier: Apache-2.0
/* Which pages a Linux backing is made of: the size of its frames, huge pages of 1 GiB,
 * the NUMA node they are on. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "support/hugepool.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef KL_HAVE_NUMA
#define KL_HAVE_NUMA 0
#endif
#if KL_HAVE_NUMA
#include <numa.h>
#include <numaif.h>
#endif

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static int try_backing(enum kl_linux_kind kind, uint64_t bytes, unsigned shift, unsigned order,
                       unsigned numa, struct kl_linux_backing **own)
{
    const struct kl_linux_backing_config config = {.size = sizeof(config),
                                                   .kind = kind,
                                                   .bytes = bytes,
                                                   .frame_shift = shift,
                                                   .block_order = order,
                                                   .numa = numa};

    *own = NULL;
    return kl_linux_backing_create(&config, own);
}

static struct kl_zone *zone_on(struct kl_linux_backing *own, unsigned flags, int want)
{
    const struct kl_zone_config config = {.size = sizeof(config),
                                          .host = kl_linux_host(),
                                          .backing = kl_linux_backing_get(own),
                                          .flags = flags};
    struct kl_zone *zone = NULL;

    assert_int_equal(kl_zone_create(&config, &zone), want);
    return zone;
}

static unsigned open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* ---- frames ------------------------------------------------------------ */

static void refuses_frame_sizes(void **state)
{
    struct kl_linux_backing *own;

    (void)state;
    assert_int_equal(try_backing(KL_LINUX_MEMFD, MIB, 11, 0, 0, &own), -KL_EINVAL);
    assert_int_equal(try_backing(KL_LINUX_MEMFD, MIB, 22, 0, 0, &own), -KL_EINVAL);
    assert_int_equal(try_backing(KL_LINUX_HUGETLB, MIB, 16, 9, 0, &own), -KL_EINVAL);
    assert_int_equal(try_backing(KL_LINUX_HUGETLB_1G, GIB, 12, 9, 0, &own), -KL_EINVAL);
    assert_int_equal(try_backing(KL_LINUX_HUGETLB_1G, GIB, 14, 18, 0, &own), -KL_EINVAL);
    assert_null(own);
}

/* Frames of 4 KiB to 2 MiB in blocks of 2 MiB: a frame is as large as it says. */
static void frames_of_every_size(void **state)
{
    (void)state;
    for (unsigned shift = 12; shift <= 21; shift++) {
        struct kl_linux_backing *own;
        struct kl_zone *zone;
        kl_owner_id owner;
        kl_pfn pfn;

        assert_int_equal(try_backing(KL_LINUX_MEMFD, 4 * MIB, shift, 0, 0, &own), 0);
        assert_int_equal(kl_linux_backing_get(own)->block_order, 21 - shift);
        zone = zone_on(own, 0, 0);
        assert_int_equal(kl_zone_frame_bytes(zone), 1u << shift);
        assert_int_equal(kl_zone_block_bytes(zone), 2 * MIB);
        assert_int_equal(kl_owner_register(zone, NULL, NULL, &owner), 0);
        assert_int_equal(kl_frame_alloc(zone, 0, owner, KL_ZERO, &pfn), 0);
        memset(kl_frame_addr(zone, pfn), 0x5a, kl_zone_frame_bytes(zone));
        assert_int_equal(kl_linux_backing_resident(own), 2 * MIB);
        assert_int_equal(kl_frame_free(zone, owner, pfn), 0);
        assert_int_equal(kl_owner_unregister(zone, owner), 0);
        assert_zone_ok(zone);
        assert_int_equal(kl_zone_destroy(zone), 0);
        kl_linux_backing_destroy(own);
    }
}

/* ---- huge pages of 1 GiB ----------------------------------------------- */

static void figures_by_size(void **state)
{
    (void)state;
    assert_int_equal(kl_linux_hugepages_total_of(KL_LINUX_MEMFD, 0), -1);
    assert_int_equal(kl_linux_hugepages_free_of(KL_LINUX_AUTO, 0), -1);
    assert_int_equal(kl_linux_hugepages_total_of(KL_LINUX_HUGETLB, 0), kl_linux_hugepages_total());
    assert_int_equal(kl_linux_hugepages_total_of(KL_LINUX_HUGETLB, KL_LINUX_NODE(4000)), -1);
    assert_true(kl_linux_hugepages_free_of(KL_LINUX_HUGETLB_1G, 0) <=
                kl_linux_hugepages_total_of(KL_LINUX_HUGETLB_1G, 0));
}

/* Where there is no such page: no pool, or none in it.  Nothing is left behind. */
static void no_page_of_a_gibibyte(void **state)
{
    int64_t free = kl_linux_hugepages_free_of(KL_LINUX_HUGETLB_1G, 0);
    unsigned files = open_files();
    struct kl_linux_backing *own;
    int err;

    (void)state;
    if (free > 0) {
        print_message("# skipped: this machine has free huge pages of 1 GiB\n");
        skip();
    }
    err = try_backing(KL_LINUX_HUGETLB_1G, 1, 0, 0, 0, &own);
    if (free < 0) {
        assert_int_equal(err, -KL_ENOTSUP);
        assert_null(own);
    } else if (err != -KL_ENOMEM) { /* else: a small machine has no addresses for it */
        assert_int_equal(err, 0);
        assert_null(zone_on(own, KL_ZONE_POPULATE, -KL_ENOMEM));
        assert_int_equal(kl_linux_backing_resident(own), 0);
        kl_linux_backing_destroy(own);
    }
    assert_int_equal(kl_linux_hugepages_free_of(KL_LINUX_HUGETLB_1G, 0), free);
    assert_int_equal(open_files(), files);
}

static void check_lease(struct kl_linux_backing *own, struct kl_zone *zone, int64_t free)
{
    int fd = -1;

    assert_int_equal(kl_linux_lease_create(own, 2 * MIB, &fd), -KL_EINVAL);
    assert_int_equal(kl_zone_give_back(zone, 1, KL_SYNC, NULL), 0);
    assert_int_equal(kl_linux_hugepages_free_of(KL_LINUX_HUGETLB_1G, 0), free);
    assert_int_equal(kl_linux_lease_create(own, GIB, &fd), 0);
    assert_int_equal(kl_linux_hugepages_free_of(KL_LINUX_HUGETLB_1G, 0), free - 1);
    assert_int_equal(kl_linux_lease_revoke(fd), 0);
    assert_int_equal(kl_linux_hugepages_free_of(KL_LINUX_HUGETLB_1G, 0), free);
    assert_int_equal(kl_zone_lend(zone, 1), 0);
}

/* One block of 2^18 frames: it comes with the first frame, holds them, and goes. */
static void a_page_of_a_gibibyte(void **state)
{
    struct kl_linux_backing *own;
    struct kl_zone *zone;
    kl_owner_id owner;
    kl_pfn pfn[100];
    int64_t free;

    (void)state;
    if (sizeof(size_t) == 4 || !hugepool_reserve(KL_LINUX_HUGETLB_1G, 1)) {
        hugepool_restore();
        skip();
    }
    free = kl_linux_hugepages_free_of(KL_LINUX_HUGETLB_1G, 0);
    assert_int_equal(try_backing(KL_LINUX_HUGETLB_1G, GIB - 5, 0, 0, 0, &own), 0);
    assert_int_equal(kl_linux_backing_kind(own), KL_LINUX_HUGETLB_1G);
    assert_int_equal((uintptr_t)kl_linux_backing_get(own)->base % GIB, 0);
    zone = zone_on(own, 0, 0);
    assert_int_equal(kl_zone_block_bytes(zone), GIB);
    assert_int_equal(kl_zone_frames(zone), 1 << 18);
    assert_int_equal(kl_owner_register(zone, NULL, NULL, &owner), 0);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(kl_frame_alloc(zone, i % 12, owner, i % 2 ? KL_ZERO : 0, &pfn[i]), 0);
        fill_bytes(kl_frame_addr(zone, pfn[i]), 4096, i);
    }
    assert_int_equal(kl_linux_backing_resident(own), GIB);
    assert_int_equal(kl_linux_hugepages_free_of(KL_LINUX_HUGETLB_1G, 0), free - 1);
    assert_int_equal(kl_zone_trim(zone, 0), 0);
    for (unsigned i = 0; i < 100; i++) {
        assert_true(bytes_are(kl_frame_addr(zone, pfn[i]), 4096, i));
        assert_int_equal(kl_frame_free(zone, owner, pfn[i]), 0);
    }
    check_lease(own, zone, free);
    assert_int_equal(kl_owner_unregister(zone, owner), 0);
    assert_zone_ok(zone);
    assert_int_equal(kl_zone_destroy(zone), 0);
    kl_linux_backing_destroy(own);
    assert_int_equal(kl_linux_hugepages_free_of(KL_LINUX_HUGETLB_1G, 0), free);
}

static int restore(void **state)
{
    (void)state;
    hugepool_restore();
    return 0;
}

/* ---- NUMA -------------------------------------------------------------- */

#if KL_HAVE_NUMA

enum { MAX_NODE = 1025 };

/* The library's calls come by here: what they asked for, and one that fails. */
static int asked_mode[8];
static unsigned asked, fail_at;

long set_mempolicy(int mode, const unsigned long *mask, unsigned long max)
{
    if (asked < 8)
        asked_mode[asked] = mode;
    if (++asked == fail_at) {
        errno = ENOMEM;
        return -1;
    }
    return syscall(SYS_set_mempolicy, mode, mask, max);
}

static bool fail_mbind;

long mbind(void *start, unsigned long len, int mode, const unsigned long *mask, unsigned long max,
           unsigned flags)
{
    if (fail_mbind) {
        errno = ENOMEM;
        return -1;
    }
    return syscall(SYS_mbind, start, len, mode, mask, max, flags);
}

static bool need_nodes(void)
{
    struct kl_linux_backing *own;

    if (numa_available() >= 0)
        return true;
    assert_int_equal(try_backing(KL_LINUX_MEMFD, MIB, 0, 0, KL_LINUX_NODE(0), &own), -KL_ENOTSUP);
    print_message("# skipped: this system has no NUMA interface\n");
    return false;
}

/* Every page of the range is on that node, as the kernel says. */
static void assert_on_node(char *base, uint64_t bytes, uint64_t page, unsigned node)
{
    for (uint64_t at = 0; at < bytes; at += page) {
        void *addr = base + at;
        int where = -1;

        base[at] = 1; /* mapped, or the kernel does not look */
        assert_int_equal(move_pages(0, 1, &addr, NULL, &where, 0), 0);
        assert_int_equal(where, (int)node);
    }
}

static void assert_policy(void *addr, unsigned node)
{
    unsigned long mask[16] = {0};
    int mode = -1;

    assert_int_equal(get_mempolicy(&mode, mask, MAX_NODE, addr, MPOL_F_ADDR), 0);
    assert_int_equal(mode, MPOL_BIND);
    assert_true(mask[node / (8 * sizeof(long))] >> node % (8 * sizeof(long)) & 1);
}

static void check_node(enum kl_linux_kind kind, unsigned node)
{
    uint64_t page = kind == KL_LINUX_MEMFD ? 4096 : 2 * MIB;
    struct kl_linux_backing *own;
    const struct kl_backing *b;
    unsigned long mask[16] = {0};
    int fd, before = -1, mode = -2;
    char *map;

    assert_int_equal(try_backing(kind, 8 * MIB, 0, 0, KL_LINUX_NODE(node), &own), 0);
    b = kl_linux_backing_get(own);
    assert_policy(b->base, node);
    assert_policy((char *)b->base + 8 * MIB - 1, node);
    assert_int_equal(get_mempolicy(&before, mask, MAX_NODE, NULL, 0), 0);
    asked = 0;
    assert_int_equal(b->populate(b->ctx, 2 * MIB, 4 * MIB), 0);
    assert_int_equal(asked, 2); /* bound, and as before */
    assert_int_equal(asked_mode[0], MPOL_BIND);
    assert_int_equal(asked_mode[1], before);
    assert_int_equal(get_mempolicy(&mode, mask, MAX_NODE, NULL, 0), 0);
    assert_int_equal(mode, before);
    assert_on_node((char *)b->base + 2 * MIB, 4 * MIB, page, node);
    assert_int_equal(kl_linux_backing_resident(own), 4 * MIB);
    asked = 0;
    assert_int_equal(kl_linux_lease_create(own, 2 * MIB, &fd), 0);
    assert_int_equal(asked_mode[0], MPOL_BIND);
    map = mmap(NULL, 2 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    assert_on_node(map, 2 * MIB, page, node);
    munmap(map, 2 * MIB);
    assert_int_equal(kl_linux_lease_revoke(fd), 0);
    kl_linux_backing_destroy(own);
}

static void check_nodes(enum kl_linux_kind kind)
{
    unsigned n = 0;

    for (int node = 0; node <= numa_max_node(); node++) {
        if (!numa_bitmask_isbitset(numa_all_nodes_ptr, (unsigned)node))
            continue;
        if (kind == KL_LINUX_HUGETLB && kl_linux_hugepages_free_of(kind, KL_LINUX_NODE(node)) < 4)
            continue;
        check_node(kind, (unsigned)node);
        n++;
    }
    assert_true(n > 0);
}

static void memfd_on_a_node(void **state)
{
    (void)state;
    if (!need_nodes())
        skip();
    check_nodes(KL_LINUX_MEMFD);
}

static void huge_pages_on_a_node(void **state)
{
    (void)state;
    if (!need_nodes() || !hugepool_reserve(KL_LINUX_HUGETLB, 4 * (unsigned)(numa_max_node() + 1))) {
        hugepool_restore();
        skip();
    }
    check_nodes(KL_LINUX_HUGETLB);
}

static void nodes_that_are_not_there(void **state)
{
    unsigned files = open_files();
    struct kl_linux_backing *own;

    (void)state;
    if (!need_nodes())
        skip();
    assert_int_equal(
        try_backing(KL_LINUX_MEMFD, MIB, 0, 0, KL_LINUX_NODE(numa_max_node() + 1), &own),
        -KL_EINVAL);
    assert_int_equal(try_backing(KL_LINUX_AUTO, MIB, 0, 0, KL_LINUX_NODE(1024), &own), -KL_EINVAL);
    assert_int_equal(try_backing(KL_LINUX_MEMFD, MIB, 0, 0, UINT32_MAX, &own), -KL_EINVAL);
    assert_null(own);
    assert_int_equal(kl_linux_memory_available_on(KL_LINUX_NODE(4000)), -1);
    assert_int_equal(open_files(), files);
}

static void memory_of_a_node(void **state)
{
    int64_t all = kl_linux_memory_available_on(0), most = 0;

    (void)state;
    if (!need_nodes())
        skip();
    for (int node = 0; node <= numa_max_node(); node++) {
        int64_t here = kl_linux_memory_available_on(KL_LINUX_NODE(node));

        most = here > most ? here : most;
    }
    assert_true(all > 0);
    assert_true(most > 0); /* and no two looks at it are the same */
}

/* The system refuses the policy: nothing has come, and nothing is left. */
static void a_policy_that_is_refused(void **state)
{
    unsigned files = open_files(), node = 0;
    struct kl_linux_backing *own;
    const struct kl_backing *b;

    (void)state;
    if (!need_nodes())
        skip();
    while (!numa_bitmask_isbitset(numa_all_nodes_ptr, node))
        node++;
    fail_mbind = true;
    assert_int_equal(try_backing(KL_LINUX_MEMFD, MIB, 0, 0, KL_LINUX_NODE(node), &own), -KL_ENOMEM);
    fail_mbind = false;
    assert_null(own);
    assert_int_equal(open_files(), files);
    assert_int_equal(try_backing(KL_LINUX_MEMFD, MIB, 0, 0, KL_LINUX_NODE(node), &own), 0);
    b = kl_linux_backing_get(own);
    asked = 0;
    fail_at = 1;
    assert_int_equal(b->populate(b->ctx, 0, 2 * MIB), -KL_ENOMEM);
    fail_at = 0;
    assert_int_equal(kl_linux_backing_resident(own), 0);
    assert_int_equal(b->populate(b->ctx, 0, 2 * MIB), 0);
    assert_int_equal(kl_linux_backing_resident(own), 2 * MIB);
    kl_linux_backing_destroy(own);
    assert_int_equal(open_files(), files);
}

#define NUMA_TESTS                                                                                 \
    cmocka_unit_test(memfd_on_a_node),                                                             \
        cmocka_unit_test_setup_teardown(huge_pages_on_a_node, NULL, restore),                      \
        cmocka_unit_test(nodes_that_are_not_there), cmocka_unit_test(memory_of_a_node),            \
        cmocka_unit_test(a_policy_that_is_refused)

#else

static void nodes_without_libnuma(void **state)
{
    struct kl_linux_backing *own;

    (void)state;
    assert_int_equal(try_backing(KL_LINUX_MEMFD, MIB, 0, 0, KL_LINUX_NODE(0), &own), -KL_ENOTSUP);
    assert_null(own);
}

#define NUMA_TESTS cmocka_unit_test(nodes_without_libnuma)

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_frame_sizes),
        cmocka_unit_test(frames_of_every_size),
        cmocka_unit_test(figures_by_size),
        cmocka_unit_test(no_page_of_a_gibibyte),
        cmocka_unit_test_setup_teardown(a_page_of_a_gibibyte, NULL, restore),
        NUMA_TESTS,
    };

    return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}
