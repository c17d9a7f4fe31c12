// SPDX-License-Identifier: Apache-2.0
/* test_control.c - the control protocol: framing, descriptors, what a hostile or
 * vanishing client can do, and that every lease ends.
 *
 * The server runs over a small zone of ordinary memory with a store in it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "integrations/control/server.h"
#include "integrations/control/wire.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK      ((uint64_t)2 << 20)
#define ZONE_BYTES (8 * BLOCK)
#define DISK_BYTES ((uint64_t)64 << 20)
#define NOBODY     65534

/* As the server has them (doc/CONTROL.md). */
#define CLIENTS  256
#define HELD_MAX 252

static int open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* ---- framing ----------------------------------------------------------- */

struct wire {
    int near;
    int far;
    struct kli_wire_line line;
};

static void wire_open(struct wire *wire, size_t max)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    *wire = (struct wire){.near = pair[0], .far = pair[1], .line = {.max = max}};
}

static void wire_close(struct wire *wire)
{
    kli_wire_line_free(&wire->line);
    close(wire->near);
    if (wire->far >= 0)
        close(wire->far);
}

static void put(struct wire *wire, const char *data, size_t len)
{
    assert_int_equal(kli_wire_send(wire->far, data, len, -1), len);
}

static int get(struct wire *wire)
{
    int got;

    do
        got = kli_wire_recv(wire->near, &wire->line, NULL);
    while (got == 0);
    return got;
}

static void test_lines(void **state)
{
    struct wire wire;
    int64_t len;

    (void)state;
    wire_open(&wire, 100);
    assert_int_equal(kli_wire_peek(&wire.line), -KL_EAGAIN);
    put(&wire, "one", 3);
    assert_int_equal(kli_wire_recv(wire.near, &wire.line, NULL), 0);
    assert_int_equal(kli_wire_peek(&wire.line), -KL_EAGAIN);
    put(&wire, "\n\ntwo\nthr", 9);
    assert_int_equal(kli_wire_recv(wire.near, &wire.line, NULL), 1);
    len = kli_wire_peek(&wire.line);
    assert_int_equal(len, 3);
    assert_string_equal(wire.line.data, "one");
    kli_wire_pop(&wire.line, 3);
    assert_int_equal(kli_wire_peek(&wire.line), 0);
    kli_wire_pop(&wire.line, 0);
    assert_int_equal(kli_wire_peek(&wire.line), 3);
    assert_string_equal(wire.line.data, "two");
    kli_wire_pop(&wire.line, 3);
    assert_int_equal(kli_wire_peek(&wire.line), -KL_EAGAIN);
    close(wire.far);
    wire.far = -1;
    assert_int_equal(get(&wire), -KL_ECANCELED);
    wire_close(&wire);
}

static void check_length(size_t max, size_t length, int expected)
{
    char *text = test_malloc(length + 1);
    struct wire wire;

    memset(text, 'x', length);
    text[length] = '\n';
    wire_open(&wire, max);
    put(&wire, text, length + 1);
    assert_int_equal(get(&wire), expected);
    if (expected == 1)
        assert_int_equal(kli_wire_peek(&wire.line), length);
    assert_true(wire.line.cap <= max + 1);
    wire_close(&wire);
    test_free(text);
}

static void test_line_limit(void **state)
{
    (void)state;
    check_length(10, 9, 1);
    check_length(10, 10, 1);
    check_length(10, 11, -KL_ERANGE);
    check_length(KLI_WIRE_REQUEST_MAX, KLI_WIRE_REQUEST_MAX, 1);
    check_length(KLI_WIRE_REQUEST_MAX, KLI_WIRE_REQUEST_MAX + 1, -KL_ERANGE);
}

static void test_descriptor(void **state)
{
    char text[] = "with one\n";
    struct stat sent;
    struct stat came;
    struct wire wire;
    int got = -1;
    int file;
    int before;

    (void)state;
    wire_open(&wire, 100);
    before = open_descriptors();
    file = memfd_create("test", MFD_CLOEXEC);
    assert_int_equal(kli_wire_send(wire.far, text, sizeof(text) - 1, file), sizeof(text) - 1);
    assert_int_equal(kli_wire_recv(wire.near, &wire.line, &got), 1);
    assert_true(got >= 0);
    assert_true(fcntl(got, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(fstat(file, &sent), 0);
    assert_int_equal(fstat(got, &came), 0);
    assert_int_equal(sent.st_ino, came.st_ino);
    /* a second one, and one that nobody asked for, are closed */
    assert_int_equal(kli_wire_send(wire.far, text, sizeof(text) - 1, file), sizeof(text) - 1);
    assert_int_equal(kli_wire_recv(wire.near, &wire.line, &got), 1);
    assert_int_equal(kli_wire_send(wire.far, text, sizeof(text) - 1, file), sizeof(text) - 1);
    assert_int_equal(kli_wire_recv(wire.near, &wire.line, NULL), 1);
    assert_int_equal(open_descriptors(), before + 2);
    close(got);
    close(file);
    wire_close(&wire);
}

static void test_send_to_nobody(void **state)
{
    struct wire wire;

    (void)state;
    wire_open(&wire, 100);
    close(wire.near);
    assert_int_equal(kli_wire_send(wire.far, "x\n", 2, -1), -KL_ECANCELED); /* and no SIGPIPE */
    wire.near = open("/dev/null", O_RDONLY | O_CLOEXEC);
    wire_close(&wire);
}

static void test_address(void **state)
{
    struct sockaddr_un address;
    char path[sizeof(address.sun_path) + 1];

    (void)state;
    assert_int_equal(kli_wire_address("", &address), -KL_EINVAL);
    assert_int_equal(kli_wire_address(NULL, &address), -KL_EINVAL);
    memset(path, 'p', sizeof(path));
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(kli_wire_address(path, &address), -KL_ERANGE);
    path[sizeof(path) - 2] = '\0';
    assert_int_equal(kli_wire_address(path, &address), 0);
    assert_int_equal(kli_wire_connect("/nonexistent/socket"), -KL_ENOENT);
}

/* ---- a disk and its server --------------------------------------------- */

struct disk {
    char dir[64];
    char path[96];
    struct kl_linux_backing *backing;
    struct kl_zone *zone;
    struct kl_store *store;
    struct kl_codec codec;
    struct kli_control *control;
};

static struct kli_control_config control_config(const struct disk *disk)
{
    return (struct kli_control_config){
        .zone = disk->zone,
        .store = disk->store,
        .backing = disk->backing,
        .path = disk->path,
        .disk_bytes = DISK_BYTES,
        .block_bytes = 4096,
        .compress = disk->codec.name,
        .level = disk->codec.level,
    };
}

static int control_start(struct disk *disk, char *why, size_t why_bytes)
{
    const struct kli_control_config config = control_config(disk);

    return kli_control_start(&config, &disk->control, why, why_bytes);
}

static void memory_open(struct disk *disk, uint64_t bytes, unsigned block_order)
{
    const struct kl_linux_backing_config memory = {
        .size = sizeof(memory), .kind = KL_LINUX_MEMFD, .bytes = bytes, .block_order = block_order};
    struct kl_zone_config zone = {.size = sizeof(zone), .host = kl_linux_host()};
    const struct kl_store_config store = {.size = sizeof(store),
                                          .blocks = DISK_BYTES / 4096,
                                          .block_bytes = 4096,
                                          .codec = &disk->codec};

    assert_int_equal(kl_linux_codec("zstd", 1, &disk->codec), 0);
    assert_int_equal(kl_linux_backing_create(&memory, &disk->backing), 0);
    zone.backing = kl_linux_backing_get(disk->backing);
    assert_int_equal(kl_zone_create(&zone, &disk->zone), 0);
    assert_int_equal(kl_store_create(disk->zone, &store, &disk->store), 0);
}

static int disk_open_with(void **state, uint64_t bytes, unsigned block_order)
{
    struct disk *disk = calloc(1, sizeof(*disk));
    char why[256] = "";

    assert_non_null(disk);
    snprintf(disk->dir, sizeof(disk->dir), "/tmp/klotski-test-XXXXXX");
    assert_non_null(mkdtemp(disk->dir));
    snprintf(disk->path, sizeof(disk->path), "%s/disk.ctl", disk->dir);
    memory_open(disk, bytes, block_order);
    if (control_start(disk, why, sizeof(why)) != 0)
        fail_msg("%s", why);
    *state = disk;
    return 0;
}

static int disk_open(void **state)
{
    return disk_open_with(state, ZONE_BYTES, 0);
}

/* Blocks of 64 KiB: many leases in little memory. */
static int disk_open_small_blocks(void **state)
{
    return disk_open_with(state, ZONE_BYTES * 4, 4);
}

static int disk_close(void **state)
{
    struct disk *disk = *state;

    kli_control_stop(disk->control);
    unlink(disk->path);
    rmdir(disk->dir);
    assert_int_equal(kl_store_destroy(disk->store), 0);
    assert_int_equal(kl_zone_destroy(disk->zone), 0);
    kl_linux_backing_destroy(disk->backing);
    free(disk);
    return 0;
}

static int join(const struct disk *disk)
{
    int sock = kli_wire_connect(disk->path);

    assert_true(sock >= 0);
    return sock;
}

/* One request, its reply as JSON. */
static struct json_object *ask(int sock, const char *request, int *fd)
{
    struct json_object *reply;
    char *text = NULL;

    assert_int_equal(kli_wire_call(sock, request, &text, fd), 0);
    reply = json_tokener_parse(text);
    if (!reply)
        fail_msg("no JSON: %s", text);
    free(text);
    return reply;
}

static struct json_object *member(struct json_object *object, const char *name)
{
    struct json_object *value = NULL;

    if (!json_object_object_get_ex(object, name, &value))
        fail_msg("no \"%s\" in %s", name, json_object_to_json_string(object));
    return value;
}

static uint64_t number(struct json_object *object, const char *name)
{
    struct json_object *value = member(object, name);

    assert_true(json_object_is_type(value, json_type_int));
    return json_object_get_uint64(value);
}

static bool says_ok(struct json_object *reply)
{
    return json_object_get_boolean(member(reply, "ok"));
}

static void check_ok(int sock, const char *request)
{
    struct json_object *reply = ask(sock, request, NULL);

    if (!says_ok(reply))
        fail_msg("%s: %s", request, json_object_to_json_string(reply));
    json_object_put(reply);
}

static void check_refused(int sock, const char *request, const char *error)
{
    struct json_object *reply = ask(sock, request, NULL);

    assert_false(says_ok(reply));
    assert_string_equal(json_object_get_string(member(reply, "error")), error);
    assert_true(strlen(json_object_get_string(member(reply, "message"))) > 0);
    json_object_put(reply);
}

static void check_says(int sock, const char *request, const char *error, const char *text)
{
    struct json_object *reply = ask(sock, request, NULL);

    assert_string_equal(json_object_get_string(member(reply, "error")), error);
    if (!strstr(json_object_get_string(member(reply, "message")), text))
        fail_msg("no \"%s\": %s", text, json_object_to_json_string(reply));
    json_object_put(reply);
}

/* The server has closed the connection. */
static void check_closed(int sock)
{
    char byte;
    ssize_t n = recv(sock, &byte, 1, 0);

    assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
}

static uint32_t given_blocks(const struct disk *disk)
{
    struct kl_zone_stats stats = {.size = sizeof(stats)};

    kl_zone_get_stats(disk->zone, &stats);
    return stats.given_blocks;
}

/* Waits for the server to have seen that a connection is closed. */
static void wait_given(const struct disk *disk, uint32_t blocks)
{
    for (int i = 0; i < 10000 && given_blocks(disk) != blocks; i++)
        poll(NULL, 0, 1);
    assert_int_equal(given_blocks(disk), blocks);
}

/* ---- requests ---------------------------------------------------------- */

static void test_stat(void **state)
{
    const struct kl_zone_marks marks = {
        .size = sizeof(marks), .low = 4096, .high = 4096, .waste_start = 50, .spare_blocks = 3};
    struct disk *disk = *state;
    struct json_object *reply, *wanted;
    int sock = join(disk);

    assert_int_equal(kl_store_write(disk->store, 0, 0, "some of it", 10), 0);
    assert_int_equal(kl_zone_set_marks(disk->zone, &marks), 0);
    reply = ask(sock, "{\"op\":\"stat\"}", NULL);
    assert_true(says_ok(reply));
    assert_int_equal(number(member(member(reply, "zone"), "marks"), "spare_blocks"), 3);
    assert_int_equal(number(member(member(reply, "zone"), "marks"), "waste_start"), 50);
    wanted = member(member(reply, "zone"), "wanted");
    assert_int_equal(json_object_array_length(wanted), 2); /* and "work": contexts at rest */
    assert_string_equal(json_object_get_string(json_object_array_get_idx(wanted, 0)), "frames");
    assert_int_equal(number(member(reply, "disk"), "size"), DISK_BYTES);
    assert_int_equal(number(member(reply, "disk"), "pid"), getpid());
    assert_int_equal(number(member(reply, "zone"), "blocks"), 8);
    assert_int_equal(number(member(reply, "zone"), "frames"), 4096);
    assert_int_equal(number(member(reply, "store"), "blocks"), DISK_BYTES / 4096);
    number(member(reply, "zs"), "freeable_frames");
    number(member(reply, "system"), "resident_bytes");
    assert_true(json_object_array_length(member(reply, "owners")) >= 1);
    assert_int_equal(json_object_array_length(member(reply, "leases")), 0);
    json_object_put(reply);
    close(sock);
}

static void test_map_and_classes(void **state)
{
    struct disk *disk = *state;
    struct json_object *reply;
    int sock = join(disk);
    const char *frames;
    char page[4096];
    size_t used = 0;

    memset(page, 0, sizeof(page));
    for (int i = 0; i < 4096; i++)
        page[i] = (char)(i * 7919 >> 3);
    assert_int_equal(kl_store_write(disk->store, 5, 0, page, sizeof(page)), 0);
    reply = ask(sock, "{\"op\":\"map\"}", NULL);
    assert_int_equal(json_object_array_length(member(reply, "blocks")), 8);
    assert_false(json_object_object_get_ex(reply, "frames", NULL));
    json_object_put(reply);
    reply = ask(sock, "{\"op\":\"map\",\"frames\":true}", NULL);
    assert_int_equal(number(reply, "frames_per_block"), 512);
    assert_int_equal(number(reply, "frame_bytes"), 4096);
    assert_int_equal(json_object_array_length(member(reply, "blocks")), 8);
    frames = json_object_get_string(member(reply, "frames"));
    assert_int_equal(strlen(frames), 4096);
    assert_int_equal(strspn(frames, "012345"), 4096);
    for (size_t i = 0; i < 4096; i++)
        used += frames[i] >= '2';
    assert_in_range(used, 1, 16);
    json_object_put(reply);
    reply = ask(sock, "{\"op\":\"classes\"}", NULL);
    assert_true(json_object_array_length(member(reply, "classes")) > 10);
    json_object_put(reply);
    check_ok(sock, "{\"op\":\"compact\"}");
    close(sock);
}

/* The figure at an index of a list. */
static uint64_t nth(struct json_object *list, size_t i)
{
    assert_true(i < json_object_array_length(list));
    return json_object_get_uint64(json_object_array_get_idx(list, i));
}

/* The cells of a map in at most `most`: they add up to what the zone says of itself. */
static void check_cells(const struct disk *disk, int sock, unsigned most, unsigned per_cell)
{
    struct kl_zone_stats stats = {.size = sizeof(stats)};
    uint64_t sums[4] = {0};
    struct json_object *reply, *cells;
    char request[64];

    snprintf(request, sizeof(request), "{\"op\":\"map\",\"cells\":%u}", most);
    kl_zone_get_stats(disk->zone, &stats);
    reply = ask(sock, request, NULL);
    assert_true(says_ok(reply));
    cells = member(reply, "cells");
    assert_int_equal(number(reply, "zone_blocks"), 8);
    assert_int_equal(number(reply, "frames_per_block"), 512);
    assert_int_equal(number(reply, "blocks_per_cell"), per_cell);
    assert_int_equal(json_object_array_length(cells), (8 + per_cell - 1) / per_cell);
    for (size_t i = 0; i < json_object_array_length(cells); i++) {
        struct json_object *cell = json_object_array_get_idx(cells, i);

        assert_int_equal(json_object_array_length(cell), 5);
        for (size_t k = 0; k < 4; k++)
            sums[k] += nth(cell, k);
    }
    assert_int_equal(sums[0], stats.present_blocks * UINT64_C(512));
    assert_true(sums[1] > 0 && sums[1] <= stats.free_frames); /* but the cached ones */
    assert_int_equal(sums[3], 0);
    json_object_put(reply);
}

static void test_map_of_cells(void **state)
{
    static const char *const bad[] = {
        "0", "-1", "65537", "1.5", "null", "\"8\"", "8,\"frames\":true"};
    struct disk *disk = *state;
    int sock = join(disk);
    char page[4096];

    for (int i = 0; i < 4096; i++)
        page[i] = (char)(i * 7919 >> 3);
    assert_int_equal(kl_store_write(disk->store, 5, 0, page, sizeof(page)), 0);
    check_cells(disk, sock, 65536, 1);
    check_cells(disk, sock, 8, 1);
    check_cells(disk, sock, 7, 2);
    check_cells(disk, sock, 3, 4);
    check_cells(disk, sock, 1, 8);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char request[64];
        struct json_object *reply;

        snprintf(request, sizeof(request), "{\"op\":\"map\",\"cells\":%s}", bad[i]);
        reply = ask(sock, request, NULL);
        assert_false(says_ok(reply));
        assert_string_equal(json_object_get_string(member(reply, "error")), "EINVAL");
        json_object_put(reply);
    }
    close(sock);
}

/* Free runs, the indexes of orders 3 and 9, the runs by their end, the owners. */
static void test_stat_of_runs(void **state)
{
    struct disk *disk = *state;
    int sock = join(disk);
    struct json_object *reply, *zone, *list;
    uint64_t frames = 0;
    char page[4096];

    for (int i = 0; i < 4096; i++)
        page[i] = (char)(i * 7919 >> 3);
    assert_int_equal(kl_store_write(disk->store, 5, 0, page, sizeof(page)), 0);
    check_ok(sock, "{\"op\":\"compact\"}");
    check_ok(sock, "{\"op\":\"take\",\"bytes\":2097152}");
    reply = ask(sock, "{\"op\":\"stat\"}", NULL);
    zone = member(reply, "zone");
    list = member(zone, "free_runs");
    assert_int_equal(json_object_array_length(list), 13); /* 4,096 frames */
    for (size_t i = 0; i < 13; i++)
        frames += nth(list, i) << i;
    assert_int_equal(frames, number(zone, "free_frames"));
    assert_int_equal(number(zone, "block_order"), 9);
    list = member(zone, "indexes");
    assert_int_equal(json_object_array_length(list), 2); /* the block's order is 9 */
    assert_int_equal(number(json_object_array_get_idx(list, 0), "order"), 3);
    assert_int_equal(number(json_object_array_get_idx(list, 1), "order"), 9);
    assert_in_range(number(json_object_array_get_idx(list, 1), "unusable"), 0, 1000);
    assert_int_equal(number(member(zone, "compact"), "asked"), 1);
    assert_int_equal(number(member(zone, "compact"), "succeeded"), 1);
    assert_int_equal(number(member(zone, "give_back"), "asked"), 1);
    assert_int_equal(number(member(zone, "give_back"), "succeeded"), 1);
    assert_int_equal(number(member(zone, "contig"), "asked"), 0);
    list = json_object_array_get_idx(member(reply, "owners"), 0);
    assert_true(number(list, "isolations") <= number(list, "scanned"));
    assert_int_equal(number(list, "migrated"), number(zone, "migrated"));
    number(list, "put_back");
    number(list, "freed_isolated");
    number(list, "failed");
    number(list, "stalls");
    json_object_put(reply);
    check_ok(sock, "{\"op\":\"give\",\"id\":0}");
    close(sock);
}

/* The server again, with an area of 4 blocks to take from. */
static struct kl_cma *area_open(struct disk *disk)
{
    struct kl_cma_config area = {.size = sizeof(area), .name = "take", .frames = 4 * 512};
    struct kli_control_config config;
    char why[256];

    kli_control_stop(disk->control);
    disk->control = NULL;
    config = control_config(disk);
    assert_int_equal(kl_cma_create(disk->zone, &area, &config.area), 0);
    assert_int_equal(kli_control_start(&config, &disk->control, why, sizeof(why)), 0);
    return config.area;
}

/* Ends its leases, too. */
static void area_close(struct disk *disk, struct kl_cma *area)
{
    const char *what = NULL;

    kli_control_stop(disk->control);
    disk->control = NULL;
    assert_int_equal(kl_cma_check(area, &what), 0);
    assert_int_equal(kl_zone_check(disk->zone, &what), 0);
    assert_int_equal(kl_cma_destroy(area), 0);
}

static void check_from(int sock, const char *request, const char *from)
{
    int fd = -1;
    struct json_object *reply = ask(sock, request, &fd);

    assert_true(json_object_get_boolean(member(reply, "ok")));
    assert_string_equal(json_object_get_string(member(reply, "from")), from);
    json_object_put(reply);
    if (fd >= 0)
        close(fd);
}

static uint64_t stat_number(int sock, const char *group, const char *name)
{
    struct json_object *reply = ask(sock, "{\"op\":\"stat\"}", NULL);
    uint64_t n = (uint64_t)number(group ? member(reply, group) : reply, name);

    json_object_put(reply);
    return n;
}

static void test_takes_from_the_area(void **state)
{
    struct disk *disk = *state;
    struct kl_cma *area = area_open(disk);
    int sock = join(disk);

    check_from(sock, "{\"op\":\"take\",\"bytes\":4194304}", "area");
    check_from(sock, "{\"op\":\"take\",\"bytes\":2097152,\"fd\":true}", "area");
    check_from(sock, "{\"op\":\"take\",\"bytes\":4194304}", "zone"); /* one block is left of it */
    check_from(sock, "{\"op\":\"take\",\"bytes\":1}", "area");
    assert_int_equal(stat_number(sock, "zone", "given_blocks"), 6);
    check_refused(sock, "{\"op\":\"take\",\"bytes\":16777216}", "EBUSY");
    assert_int_equal(stat_number(sock, "zone", "given_blocks"), 6);
    check_ok(sock, "{\"op\":\"give\",\"id\":0}");
    assert_int_equal(stat_number(sock, "zone", "given_blocks"), 0);
    check_from(sock, "{\"op\":\"take\",\"bytes\":8388608}", "area"); /* and stays so to the end */
    close(sock);
    area_close(disk, area);
}

/* There is no memory when it shall come back: it is said, and tried again. */
static void test_owed_to_the_area(void **state)
{
    struct disk *disk = *state;
    struct kl_cma *area = area_open(disk);
    struct kl_zone_limits limits = {.size = sizeof(limits)};
    struct kl_cma_stats stats = {.size = sizeof(stats)};
    int sock = join(disk);
    struct json_object *reply;

    check_from(sock, "{\"op\":\"take\",\"bytes\":6291456}", "area");
    limits.hard = stat_number(sock, "zone", "charged_bytes") + BLOCK;
    assert_int_equal(kl_zone_set_limits(disk->zone, &limits), 0);
    reply = ask(sock, "{\"op\":\"give\",\"id\":0}", NULL);
    assert_int_equal(number(reply, "bytes"), 3 * BLOCK);
    assert_int_equal(number(reply, "owed"), 2 * BLOCK);
    json_object_put(reply);
    assert_int_equal(stat_number(sock, NULL, "owed_bytes"), 2 * BLOCK);
    assert_int_equal(stat_number(sock, "zone", "given_blocks"), 2); /* one is there by now */
    kl_cma_get_stats(area, &stats);
    assert_int_equal(stats.given_frames, 2 * 512);
    check_refused(sock, "{\"op\":\"give\",\"id\":1}", "ENOENT"); /* it has ended */
    limits.hard = 0;
    assert_int_equal(kl_zone_set_limits(disk->zone, &limits), 0);
    while (stat_number(sock, NULL, "owed_bytes") > 0)
        continue;
    assert_int_equal(stat_number(sock, "zone", "given_blocks"), 0);
    close(sock);
    area_close(disk, area);
}

/* An area of the zone is in the figures, and not to be taken. */
static void test_areas(void **state)
{
    struct disk *disk = *state;
    struct kl_cma_config config = {.size = sizeof(config), .name = "buffers", .frames = 6 * 512};
    int sock = join(disk);
    struct json_object *reply, *row;
    struct kl_cma *area;

    assert_int_equal(kl_cma_create(disk->zone, &config, &area), 0);
    reply = ask(sock, "{\"op\":\"stat\"}", NULL);
    assert_int_equal(json_object_array_length(member(reply, "areas")), 1);
    row = json_object_array_get_idx(member(reply, "areas"), 0);
    assert_string_equal(json_object_get_string(member(row, "name")), "cma buffers");
    assert_int_equal(number(row, "frames"), 6 * 512);
    assert_int_equal(number(row, "available_frames"), 6 * 512);
    json_object_put(reply);
    reply = ask(sock, "{\"op\":\"take\",\"bytes\":6291456}", NULL);
    assert_false(json_object_get_boolean(member(reply, "ok")));
    assert_int_equal(number(member(reply, "culprit"), "block") >= 2, 1);
    json_object_put(reply);
    assert_int_equal(kl_cma_destroy(area), 0);
    check_ok(sock, "{\"op\":\"take\",\"bytes\":6291456}");
    check_ok(sock, "{\"op\":\"give\",\"id\":0}");
    close(sock);
}

static void test_refused_requests(void **state)
{
    static const char *const bad[] = {
        "{}",
        "[]",
        "1",
        "\"stat\"",
        "null",
        "{\"op\":null}",
        "{\"op\":\"stat\\u0000x\"}",
        "{\"op\":\"stat\\u0000\"}",
        "{\"op\":7}",
        "{\"op\":\"\"}",
        "{\"op\":\"format\"}",
        "{\"op\":\"who\"}",
        "{\"op\":\"who\",\"bytes\":0}",
        "{\"op\":\"who\",\"bytes\":16777217}",
        "{\"op\":\"who\",\"bytes\":1,\"align\":0}",
        "{\"op\":\"who\",\"bytes\":1,\"align\":3}",
        "{\"op\":\"who\",\"bytes\":1,\"align\":\"x\"}",
        "{\"op\":\"who\",\"bytes\":1,\"align\":9223372036854775807}",
        "{\"op\":\"take\"}",
        "{\"op\":\"take\",\"bytes\":0}",
        "{\"op\":\"take\",\"bytes\":-1}",
        "{\"op\":\"take\",\"bytes\":1.5}",
        "{\"op\":\"take\",\"bytes\":\"2M\"}",
        "{\"op\":\"take\",\"bytes\":16777217}",
        "{\"op\":\"take\",\"bytes\":99999999999999999999999}",
        "{\"op\":\"take\",\"bytes\":2097152,\"fd\":1}",
        "{\"op\":\"give\"}",
        "{\"op\":\"give\",\"id\":true}",
        "{\"op\":\"migration\"}",
        "{\"op\":\"migration\",\"on\":\"off\"}",
    };
    struct disk *disk = *state;
    int sock = join(disk);

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        check_refused(sock, bad[i], "EINVAL");
    check_says(sock, "null", "EINVAL", "an object with a string \"op\"");
    check_refused(sock, "{\"op\":\"give\",\"id\":7}", "ENOENT");
    check_ok(sock, "{\"op\":\"give\",\"id\":0}");
    check_ok(sock, "{\"op\":\"stat\"}"); /* the connection has survived all that */
    assert_int_equal(given_blocks(disk), 0);
    close(sock);
}

static void check_garbage(const struct disk *disk, const char *data, size_t len)
{
    struct kli_wire_line line = {.max = KLI_WIRE_REPLY_MAX};
    int sock = join(disk);

    assert_int_equal(kli_wire_send(sock, data, len, -1), len);
    while (kli_wire_recv(sock, &line, NULL) == 0)
        ;
    assert_true(kli_wire_peek(&line) > 0);
    assert_non_null(strstr(line.data, "\"ok\":false"));
    assert_non_null(strstr(line.data, "EINVAL"));
    kli_wire_line_free(&line);
    check_closed(sock);
    close(sock);
}

static void test_garbage(void **state)
{
    static const char deep[] = "{\"a\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}\n";
    static const char nul[] = "{\"op\":\"stat\"}\0{}\n";
    static const char binary[] = "\x80\xff\x00\x01\xfe\n";
    struct disk *disk = *state;
    char *text = test_malloc(KLI_WIRE_REQUEST_MAX + 1);

    check_garbage(disk, "\n", 1);
    check_garbage(disk, "GET / HTTP/1.1\r\n", 16);
    check_garbage(disk, "{\"op\":\"stat\"\n", 13);
    check_garbage(disk, "{\"op\":\"stat\"}}\n", 15);
    check_garbage(disk, deep, sizeof(deep) - 1);
    check_garbage(disk, nul, sizeof(nul) - 1);
    check_garbage(disk, binary, sizeof(binary) - 1);
    memset(text, '{', KLI_WIRE_REQUEST_MAX + 1); /* no newline ever */
    check_garbage(disk, text, KLI_WIRE_REQUEST_MAX + 1);
    test_free(text);
    close(join(disk)); /* still listening */
}

static void test_pipelined(void **state)
{
    static const char many[] = "{\"op\":\"stat\"}\n{\"op\":\"nothing\"}\n{\"op\":\"map\"}\n";
    struct kli_wire_line line = {.max = KLI_WIRE_REPLY_MAX};
    struct disk *disk = *state;
    int sock = join(disk);
    int replies = 0;

    assert_int_equal(kli_wire_send(sock, many, sizeof(many) - 1, -1), sizeof(many) - 1);
    assert_int_equal(shutdown(sock, SHUT_WR), 0); /* the answers come all the same */
    while (kli_wire_recv(sock, &line, NULL) >= 0)
        ;
    for (int64_t len; (len = kli_wire_peek(&line)) >= 0; replies++) {
        assert_true((strstr(line.data, "\"ok\":true") != NULL) == (replies != 1));
        kli_wire_pop(&line, (size_t)len);
    }
    assert_int_equal(replies, 3);
    kli_wire_line_free(&line);
    close(sock);
}

/* A client that asks and never reads holds up nobody else, nor the end. */
static void test_client_that_never_reads(void **state)
{
    static const char map[] = "{\"op\":\"map\",\"frames\":true}\n";
    struct disk *disk = *state;
    int lazy = join(disk);
    int sock = join(disk);
    int64_t sent;

    assert_int_equal(fcntl(lazy, F_SETFL, O_NONBLOCK), 0);
    do
        sent = kli_wire_send(lazy, map, sizeof(map) - 1, -1);
    while (sent == sizeof(map) - 1);
    assert_int_equal(sent, -KL_EAGAIN); /* the server has stopped to read */
    check_ok(sock, "{\"op\":\"stat\"}");
    kli_control_stop(disk->control);
    disk->control = NULL;
    check_closed(sock);
    close(lazy);
    close(sock);
}

static void test_more_clients_than_slots(void **state)
{
    enum { MANY = 30 };
    struct disk *disk = *state;
    int socks[MANY];

    for (int i = 0; i < MANY; i++)
        socks[i] = join(disk);
    for (int i = 0; i < MANY; i++) {
        check_ok(socks[i], "{\"op\":\"stat\"}");
        close(socks[i]);
    }
}

/* When every slot is used, whoever has been silent longest makes room. */
static void test_idle_clients_make_room(void **state)
{
    struct disk *disk = *state;
    int socks[CLIENTS];
    int late;

    for (int i = 0; i < CLIENTS; i++) {
        socks[i] = join(disk);
        check_ok(socks[i], "{\"op\":\"migration\",\"on\":true}");
    }
    check_ok(socks[0], "{\"op\":\"migration\",\"on\":true}"); /* not silent longest any more */
    late = join(disk);
    check_ok(late, "{\"op\":\"stat\"}");
    check_closed(socks[1]);
    check_ok(socks[0], "{\"op\":\"stat\"}");
    for (int i = 2; i < CLIENTS; i++)
        check_ok(socks[i], "{\"op\":\"migration\",\"on\":true}");
    for (int i = 0; i < CLIENTS; i++)
        close(socks[i]);
    close(late);
}

/* ---- leases ------------------------------------------------------------ */

static void test_take_and_give(void **state)
{
    struct disk *disk = *state;
    struct json_object *reply;
    int sock = join(disk);
    char request[64];

    reply = ask(sock, "{\"op\":\"take\",\"bytes\":2097153}", NULL);
    assert_true(says_ok(reply));
    assert_int_equal(number(reply, "blocks"), 2);
    assert_int_equal(number(reply, "bytes"), 2 * BLOCK);
    snprintf(request, sizeof(request), "{\"op\":\"give\",\"id\":%d}", (int)number(reply, "id"));
    json_object_put(reply);
    assert_int_equal(given_blocks(disk), 2);
    close(sock); /* a lease without a descriptor stays */
    sock = join(disk);
    assert_int_equal(given_blocks(disk), 2);
    reply = ask(sock, "{\"op\":\"stat\"}", NULL);
    assert_int_equal(json_object_array_length(member(reply, "leases")), 1);
    json_object_put(reply);
    check_refused(sock, "{\"op\":\"take\",\"bytes\":16777216}", "EBUSY");
    reply = ask(sock, request, NULL);
    assert_int_equal(number(reply, "bytes"), 2 * BLOCK);
    json_object_put(reply);
    check_refused(sock, request, "ENOENT");
    assert_int_equal(given_blocks(disk), 0);
    close(sock);
}

static void test_take_with_descriptor(void **state)
{
    struct disk *disk = *state;
    struct json_object *reply;
    int sock = join(disk);
    struct stat st;
    int fd = -1;

    reply = ask(sock, "{\"op\":\"take\",\"bytes\":4194304,\"fd\":true}", &fd);
    assert_true(says_ok(reply));
    json_object_put(reply);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal((uint64_t)st.st_blocks * 512, 2 * BLOCK);
    assert_int_equal(given_blocks(disk), 2);
    close(sock); /* the lease ends, although the descriptor is still open */
    wait_given(disk, 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_blocks, 0);
    assert_int_equal(st.st_size, 0);
    close(fd);
}

static const char take_one[] = "{\"op\":\"take\",\"bytes\":1,\"fd\":true}";

static void hold_one(int sock)
{
    int fd = -1;
    struct json_object *reply = ask(sock, take_one, &fd);

    if (!says_ok(reply))
        fail_msg("%s", json_object_to_json_string(reply));
    json_object_put(reply);
    assert_true(fd >= 0);
    close(fd); /* the lease is the connection's */
}

/* Holders leave room for others, however many there are, and are never dropped. */
static void test_holders_leave_room(void **state)
{
    struct disk *disk = *state;
    int holders[HELD_MAX];
    int idle[2 * (CLIENTS - HELD_MAX)];
    int fd = -1;
    int sock;
    struct json_object *reply;

    for (int i = 0; i < HELD_MAX; i++) {
        holders[i] = join(disk);
        hold_one(holders[i]);
    }
    sock = join(disk);
    reply = ask(sock, take_one, &fd);
    assert_string_equal(json_object_get_string(member(reply, "error")), "ENOSPC");
    json_object_put(reply);
    assert_int_equal(fd, -1);
    assert_int_equal(given_blocks(disk), HELD_MAX);
    check_refused(holders[0], take_one, "ENOSPC");   /* nor does a holder get a second one */
    check_ok(sock, "{\"op\":\"take\",\"bytes\":1}"); /* without a descriptor: no slot is held */
    for (size_t i = 0; i < sizeof(idle) / sizeof(idle[0]); i++) {
        idle[i] = join(disk); /* more than there is room for */
        check_ok(idle[i], "{\"op\":\"stat\"}");
    }
    assert_int_equal(given_blocks(disk), HELD_MAX + 1); /* no holder was dropped */
    close(holders[0]);
    wait_given(disk, HELD_MAX);
    hold_one(idle[sizeof(idle) / sizeof(idle[0]) - 1]);
    assert_int_equal(given_blocks(disk), HELD_MAX + 1);
    for (int i = 1; i < HELD_MAX; i++)
        close(holders[i]);
    for (size_t i = 0; i < sizeof(idle) / sizeof(idle[0]); i++)
        close(idle[i]);
    close(sock);
    wait_given(disk, 1);
}

/* A take that fails says what was missing, and uses up no id. */
static void test_failed_take_explains(void **state)
{
    struct disk *disk = *state;
    struct json_object *reply;
    int sock = join(disk);
    uint64_t first;
    char page[4096];

    reply = ask(sock, "{\"op\":\"take\",\"bytes\":2097152}", NULL);
    first = number(reply, "id");
    json_object_put(reply);
    check_says(sock, "{\"op\":\"take\",\"bytes\":16777216}", "EBUSY",
               "8 blocks are wanted, and of the zone's 8, 1 are taken already");
    for (size_t i = 0; i < sizeof(page); i++)
        page[i] = (char)(i * 7919 >> 3);
    assert_int_equal(kl_store_write(disk->store, 0, 0, page, sizeof(page)), 0);
    check_says(sock, "{\"op\":\"take\",\"bytes\":14680064}", "ENOMEM",
               "too few frames are free outside of the blocks: ");
    check_says(sock, "{\"op\":\"take\",\"bytes\":14680064}", "ENOMEM", "room for 0");
    check_ok(sock, "{\"op\":\"migration\",\"on\":false}");
    check_says(sock, "{\"op\":\"take\",\"bytes\":14680064}", "EBUSY",
               "7 blocks are wanted, 6 can be emptied while migration is off");
    check_ok(sock, "{\"op\":\"migration\",\"on\":true}");
    reply = ask(sock, "{\"op\":\"take\",\"bytes\":2097152}", NULL);
    assert_int_equal(number(reply, "id"), first + 1);
    json_object_put(reply);
    close(sock);
}

/* ---- who is in the way ------------------------------------------------- */

/* A pinned frame in each of the blocks, by an owner of the test's own. */
struct pinner {
    kl_owner_id owner;
    kl_pfn frame[8];
    kl_pin_id pin[8];
};

static void pin_each_block(struct disk *disk, struct pinner *p)
{
    const struct kl_owner_ops ops = {.size = sizeof(ops), .name = "a \"driver\""};
    const struct kl_pin_config config = {
        .size = sizeof(config), .object = 7, .why = "fixed buffers"};

    assert_int_equal(kl_owner_register(disk->zone, &ops, NULL, &p->owner), 0);
    for (int i = 0; i < 8; i++) {
        struct kl_report r = {.size = sizeof(r)};

        p->frame[i] = kl_zone_pfn(disk->zone, (uint32_t)i * 512 + 100);
        assert_int_equal(kl_contig_alloc_at(disk->zone, p->owner, p->frame[i], 1, KL_SYNC, &r), 0);
        assert_int_equal(kl_pin_begin(disk->zone, p->owner, &config, &p->frame[i], 1, &p->pin[i]),
                         0);
    }
}

static void unpin_block(struct disk *disk, struct pinner *p, int i)
{
    assert_int_equal(kl_pin_end(disk->zone, p->owner, p->pin[i]), 0);
    assert_int_equal(kl_frame_free(disk->zone, p->owner, p->frame[i]), 0);
}

static void check_obstacle(struct json_object *o, uint64_t block)
{
    assert_int_equal(number(o, "frame"), block * 512 + 100);
    assert_int_equal(number(o, "block"), block);
    assert_int_equal(number(o, "frames"), 1);
    assert_int_equal(number(o, "pins"), 1);
    assert_int_equal(number(o, "object"), 7);
    assert_true(number(o, "age_ns") > 0);
    assert_string_equal(json_object_get_string(member(o, "owner")), "a \"driver\"");
    assert_string_equal(json_object_get_string(member(o, "kind")), "UNMOVABLE");
    assert_string_equal(json_object_get_string(member(o, "text")), "unmovable");
    assert_string_equal(json_object_get_string(member(o, "why")), "fixed buffers");
}

static void test_who(void **state)
{
    struct disk *disk = *state;
    struct json_object *reply;
    int sock = join(disk);
    struct pinner p;

    reply = ask(sock, "{\"op\":\"who\",\"bytes\":16777216}", NULL);
    assert_true(says_ok(reply));
    assert_int_equal(number(reply, "found"), 0);
    assert_int_equal(number(reply, "blocks"), 8);
    json_object_put(reply);
    pin_each_block(disk, &p);
    unpin_block(disk, &p, 5);
    reply = ask(sock, "{\"op\":\"who\",\"bytes\":2097153}", NULL);
    assert_int_equal(number(reply, "bytes"), 2 * BLOCK);
    assert_int_equal(number(reply, "found"), 1); /* block 5, and the first one */
    assert_int_equal(json_object_array_length(member(reply, "obstacles")), 1);
    check_obstacle(json_object_array_get_idx(member(reply, "obstacles"), 0), 0);
    json_object_put(reply);
    reply = ask(sock, "{\"op\":\"who\",\"bytes\":2097152,\"align\":2097152}", NULL);
    assert_int_equal(number(reply, "found"), 0);
    assert_int_equal(number(reply, "first"), 5 * 512);
    json_object_put(reply);
    reply = ask(sock, "{\"op\":\"who\",\"bytes\":4194304,\"align\":4194304}", NULL);
    assert_int_equal(number(reply, "found"), 1);
    assert_int_equal(number(reply, "first"), 4 * 512);
    check_obstacle(json_object_array_get_idx(member(reply, "obstacles"), 0), 4);
    json_object_put(reply);
    reply = ask(sock, "{\"op\":\"take\",\"bytes\":4194304}", NULL);
    assert_false(says_ok(reply));
    check_obstacle(member(reply, "culprit"), 0);
    json_object_put(reply);
    for (int i = 0; i < 8; i++) {
        if (i != 5)
            unpin_block(disk, &p, i);
    }
    assert_int_equal(kl_owner_unregister(disk->zone, p.owner), 0);
    close(sock);
}

/* Another connection gives it back: the holder's memory goes at once. */
static void test_give_under_the_holder(void **state)
{
    struct disk *disk = *state;
    struct json_object *reply;
    int holder = join(disk);
    int other = join(disk);
    struct stat st;
    int fd = -1;

    reply = ask(holder, "{\"op\":\"take\",\"bytes\":1,\"fd\":true}", &fd);
    assert_true(says_ok(reply));
    json_object_put(reply);
    check_ok(other, "{\"op\":\"give\",\"id\":0}");
    assert_int_equal(given_blocks(disk), 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_blocks, 0);
    close(holder);
    check_ok(other, "{\"op\":\"take\",\"bytes\":16777216}"); /* all of it: nothing is lost */
    check_ok(other, "{\"op\":\"give\",\"id\":0}");
    close(fd);
    close(other);
}

static void test_stop_ends_everything(void **state)
{
    struct disk *disk = *state;
    int holder = join(disk);
    int writer = join(disk);
    struct json_object *reply;
    struct stat st;
    int fd = -1;

    check_ok(writer, "{\"op\":\"take\",\"bytes\":2097152}");
    reply = ask(holder, "{\"op\":\"take\",\"bytes\":2097152,\"fd\":true}", &fd);
    assert_true(says_ok(reply));
    json_object_put(reply);
    assert_int_equal(kli_wire_send(writer, "{\"op\":\"st", 9, -1), 9); /* in mid-request */
    kli_control_stop(disk->control);
    disk->control = NULL;
    assert_int_equal(given_blocks(disk), 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_blocks, 0);
    assert_int_equal(access(disk->path, F_OK), -1);
    check_closed(holder);
    check_closed(writer);
    close(fd);
    close(holder);
    close(writer);
}

static void test_migration_off(void **state)
{
    struct disk *disk = *state;
    int sock = join(disk);
    char page[4096];

    for (size_t i = 0; i < sizeof(page); i++)
        page[i] = (char)(i * 7919 >> 3);
    assert_int_equal(kl_store_write(disk->store, 0, 0, page, sizeof(page)), 0);
    check_ok(sock, "{\"op\":\"migration\",\"on\":false}");
    check_refused(sock, "{\"op\":\"take\",\"bytes\":16777216}", "EBUSY");
    check_ok(sock, "{\"op\":\"take\",\"bytes\":14680064}"); /* the blocks that are free anyhow */
    check_ok(sock, "{\"op\":\"give\",\"id\":0}");
    check_ok(sock, "{\"op\":\"migration\",\"on\":true}");
    close(sock);
}

/* ---- the socket file --------------------------------------------------- */

static void test_socket_mode(void **state)
{
    struct disk *disk = *state;
    struct stat st;

    assert_int_equal(stat(disk->path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void test_second_server_refused(void **state)
{
    struct disk *disk = *state;
    struct kli_control_config config = control_config(disk);
    struct kli_control *second = NULL;
    char why[256] = "";
    char path[128];
    int file;

    assert_int_equal(kli_control_start(&config, &second, why, sizeof(why)), -KL_EEXIST);
    assert_non_null(strstr(why, disk->path));
    assert_int_equal(kli_control_probe(disk->path, why, sizeof(why)), -KL_EEXIST);
    close(join(disk)); /* the first one still answers */
    snprintf(path, sizeof(path), "%s/file", disk->dir);
    file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    close(file);
    config.path = path;
    assert_int_equal(kli_control_start(&config, &second, why, sizeof(why)), -KL_EEXIST);
    assert_int_equal(access(path, F_OK), 0);
    unlink(path);
    config.path = "/nonexistent/disk.ctl";
    assert_int_equal(kli_control_start(&config, &second, why, sizeof(why)), -KL_EIO);
    assert_non_null(strstr(why, "/nonexistent"));
    assert_int_equal(kli_control_probe(config.path, why, sizeof(why)), -KL_EIO);
    assert_null(second);
}

/* What a killed server leaves behind is replaced. */
static void test_stale_socket_replaced(void **state)
{
    struct disk *disk = *state;
    struct sockaddr_un address;
    char why[256];
    int dead;

    kli_control_stop(disk->control);
    disk->control = NULL;
    assert_int_equal(kli_wire_address(disk->path, &address), 0);
    dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(dead, (struct sockaddr *)&address, sizeof(address)), 0);
    close(dead);
    assert_int_equal(kli_control_probe(disk->path, why, sizeof(why)), 0);
    assert_int_equal(access(disk->path, F_OK), 0); /* a look changes nothing */
    assert_int_equal(control_start(disk, why, sizeof(why)), 0);
    close(join(disk));
}

/* A socket file that somebody else put in our place stays. */
static void test_foreign_file_stays(void **state)
{
    struct disk *disk = *state;
    int file;

    assert_int_equal(unlink(disk->path), 0);
    file = open(disk->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    close(file);
    kli_control_stop(disk->control);
    disk->control = NULL;
    assert_int_equal(access(disk->path, F_OK), 0);
}

/* Another user: first the file's mode, then, without it, the credentials. */
static int as_nobody(const char *path)
{
    struct kli_wire_line line = {.max = KLI_WIRE_REPLY_MAX};
    char byte;
    int sock;

    if (setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
        return 1;
    sock = kli_wire_connect(path);
    if (sock == -KL_EBUSY)
        return 2;
    if (sock < 0)
        return 3;
    while (kli_wire_recv(sock, &line, NULL) == 0)
        ;
    if (kli_wire_peek(&line) < 0 || !strstr(line.data, "\"ok\":false"))
        return 4;
    kli_wire_line_free(&line);
    return recv(sock, &byte, 1, 0) > 0 ? 5 : 6;
}

static int child_as_nobody(const char *path)
{
    pid_t pid = fork();
    int status = 0;

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(as_nobody(path));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_other_user_refused(void **state)
{
    struct disk *disk = *state;

    if (geteuid() != 0) {
        print_message("skipped: needs root to become another user\n");
        skip();
    }
    assert_int_equal(chmod(disk->dir, 0755), 0);
    assert_int_equal(child_as_nobody(disk->path), 2);
    assert_int_equal(chmod(disk->path, 0666), 0);
    assert_int_equal(child_as_nobody(disk->path), 6);
    close(join(disk));
}

#define WITH_DISK(test) cmocka_unit_test_setup_teardown(test, disk_open, disk_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_line_limit),
        cmocka_unit_test(test_descriptor),
        cmocka_unit_test(test_send_to_nobody),
        cmocka_unit_test(test_address),
        WITH_DISK(test_stat),
        WITH_DISK(test_map_and_classes),
        WITH_DISK(test_map_of_cells),
        WITH_DISK(test_stat_of_runs),
        WITH_DISK(test_areas),
        WITH_DISK(test_takes_from_the_area),
        WITH_DISK(test_owed_to_the_area),
        WITH_DISK(test_refused_requests),
        WITH_DISK(test_garbage),
        WITH_DISK(test_pipelined),
        WITH_DISK(test_client_that_never_reads),
        WITH_DISK(test_more_clients_than_slots),
        WITH_DISK(test_idle_clients_make_room),
        WITH_DISK(test_take_and_give),
        WITH_DISK(test_take_with_descriptor),
        cmocka_unit_test_setup_teardown(test_holders_leave_room, disk_open_small_blocks,
                                        disk_close),
        WITH_DISK(test_failed_take_explains),
        WITH_DISK(test_give_under_the_holder),
        WITH_DISK(test_who),
        WITH_DISK(test_stop_ends_everything),
        WITH_DISK(test_migration_off),
        WITH_DISK(test_socket_mode),
        WITH_DISK(test_second_server_refused),
        WITH_DISK(test_stale_socket_replaced),
        WITH_DISK(test_foreign_file_stays),
        WITH_DISK(test_other_user_refused),
    };

    return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
