// SPDX-License-Identifier: Apache-2.0
/* Buffers of a device that get out of the way: a driver pins them and memory can't be given
 * back; with hooks it is quieted, they move, and it is told where they are.  Then a buffer
 * that another process has, and one that may be dropped. */
#define _POSIX_C_SOURCE 200809L /* pread */
#include <klotski/klotski.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFERS = 24, BYTES = 64 << 10, RUNS = BYTES / 4096, BLOCKS = 3 };

/* What this device knows of a buffer: where it is.  A real one has a page table. */
struct buffer {
    struct kl_shm *shm;
    kl_shm_id object;
    kl_pin_id pin;
    struct kl_shm_run run[RUNS];
    int runs; /* 0: the device is off it */
};

static void must(int err, const char *what)
{
    if (err >= 0)
        return;
    fprintf(stderr, "%s: %s\n", what, kl_err_text(err));
    exit(1);
}

static void map(struct buffer *b)
{
    uint64_t next;

    b->runs = kl_shm_sg(b->shm, b->object, 0, b->run, RUNS, &next);
    must(b->runs, "scatter list");
}

/* Stops the device for all buffers of the batch; a real driver waits here, with a bound,
 * when mode is KL_SYNC, and else says -KL_EBUSY if it would have to. */
static int prepare(const struct kl_shm_ref *objects, size_t n, enum kl_mode mode)
{
    (void)mode;
    for (size_t i = 0; i < n; i++)
        ((struct buffer *)objects[i].data)->runs = 0;
    return 0;
}

static void finish(const struct kl_shm_ref *objects, size_t n)
{
    for (size_t i = 0; i < n; i++)
        map(objects[i].data);
}

/* What the device does: it finds the first byte of the buffer's last page. */
static int last_page(const struct kl_zone *zone, const struct buffer *b)
{
    const struct kl_shm_run *last = &b->run[b->runs - 1];
    const char *mem = kl_frame_addr(zone, last->first);

    return mem[(size_t)(last->frames - 1) * kl_zone_frame_bytes(zone)];
}

static void make_buffers(struct kl_shm *shm, struct buffer *b)
{
    static char bytes[BYTES];
    kl_shm_id junk[BUFFERS];

    for (int i = 0; i < BUFFERS; i++) { /* with something between that goes again */
        memset(bytes, 'a' + i, BYTES);
        b[i].shm = shm;
        must(kl_shm_object_create(shm, BYTES, 0, &b[i].object), "buffer");
        must(kl_shm_write(shm, b[i].object, 0, bytes, BYTES), "write");
        must(kl_shm_object_create(shm, (uint64_t)3 * BYTES, 0, &junk[i]), "junk");
        for (int k = 0; k < 3; k++)
            must(kl_shm_write(shm, junk[i], (uint64_t)k * BYTES, bytes, BYTES), "junk");
    }
    for (int i = 0; i < BUFFERS; i++)
        must(kl_shm_object_destroy(shm, junk[i]), "junk's end");
}

static int give_back(struct kl_zone *zone, const char *how)
{
    struct kl_report r = {.size = sizeof(r)};
    int err = kl_zone_give_back(zone, BLOCKS, KL_SYNC, &r);

    printf("%-11s %d blocks of 2 MiB back: %s", how, BLOCKS, err ? kl_err_text(err) : "yes");
    if (err)
        printf(" (%s: %s)\n", kl_in_way_text(r.culprit_kind), r.culprit_why);
    else
        printf(", %u pages moved\n", r.migrated);
    return err;
}

/* Over there is the other end of the socket; when it is closed the contents come back. */
static int another_process(struct kl_shm *shm, kl_shm_id object)
{
    struct kl_linux_export_config config = {.size = sizeof(config)};
    struct pollfd wanted = {.events = POLLIN};
    char before, after;
    int fd, ends[2];
    ssize_t n;

    must(kl_linux_peers_create(NULL, &config.peers), "peers");
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) ? -KL_EIO : 0, "socket");
    config.peer = ends[0];
    must(kl_linux_export_create(shm, object, &config, NULL, &fd), "export");
    n = pread(fd, &before, 1, 0); /* send fd over the socket, and close it */
    close(ends[1]);               /* or the process is killed */
    wanted.fd = kl_linux_peers_fd(config.peers);
    if (poll(&wanted, 1, -1) == 1) /* in the program's event loop */
        kl_linux_peers_look(config.peers);
    printf("exported:   it reads '%c', and when the peer is gone %s\n", before,
           pread(fd, &after, 1, 0) == 0 ? "nothing" : "something");
    close(fd);
    close(ends[0]);
    must(kl_linux_peers_destroy(config.peers), "peers' end");
    return n == 1 && before == 'a' ? 0 : -1;
}

static int purgeable(struct kl_zone *zone, struct kl_shm *shm, kl_shm_id object)
{
    int err;

    must(kl_shm_set_purgeable(shm, object, true), "purgeable");
    must((int)kl_zone_shrink(zone, 1, KL_SYNC), "shrink"); /* somebody needs memory */
    err = kl_shm_set_purgeable(shm, object, false);
    printf("purgeable:  %s\n", kl_err_text(err));
    return err == -KL_ENODATA ? 0 : -1;
}

int main(void)
{
    static const struct kl_shm_ops ops = {
        .size = sizeof(ops), .name = "example", .prepare = prepare, .finish = finish};
    struct kl_linux_backing_config memory = {
        .size = sizeof(memory), .kind = KL_LINUX_MEMFD, .bytes = 8u << 20};
    struct kl_zone_config config = {
        .size = sizeof(config), .host = kl_linux_host(), .flags = KL_ZONE_POPULATE};
    struct kl_linux_backing *backing;
    kl_shm_device_id device;
    struct kl_zone *zone;
    struct kl_shm *shm;
    static struct buffer b[BUFFERS];
    int pinned, hooked, wrong = 0;

    must(kl_linux_backing_create(&memory, &backing), "memory");
    config.backing = kl_linux_backing_get(backing);
    must(kl_zone_create(&config, &zone), "zone");
    must(kl_shm_create(zone, NULL, &shm), "objects");
    make_buffers(shm, b);

    kl_zone_set_migration(zone, false); /* or pins would move them together first */
    for (int i = 0; i < BUFFERS; i++)
        must(kl_shm_pin(shm, b[i].object, "the example's device", &b[i].pin), "pin");
    kl_zone_set_migration(zone, true);
    pinned = give_back(zone, "pinned:");
    for (int i = 0; i < BUFFERS; i++)
        must(kl_shm_unpin(shm, b[i].object, b[i].pin), "unpin");

    must(kl_shm_device_register(shm, &ops, b, &device), "device");
    for (int i = 0; i < BUFFERS; i++) {
        must(kl_shm_attach(shm, b[i].object, device, &b[i]), "attach");
        must(kl_shm_activate(shm, b[i].object, KL_SYNC), "activate");
        map(&b[i]);
    }
    hooked = give_back(zone, "with hooks:");
    for (int i = 0; i < BUFFERS; i++)
        wrong |= last_page(zone, &b[i]) != 'a' + i;
    must(kl_zone_lend(zone, hooked ? 0 : BLOCKS), "lend");

    for (int i = 0; i < BUFFERS; i++) {
        must(kl_shm_deactivate(shm, b[i].object), "deactivate");
        must(kl_shm_detach(shm, b[i].object), "detach");
    }
    wrong |= another_process(shm, b[0].object);
    wrong |= purgeable(zone, shm, b[1].object);
    for (int i = 0; i < BUFFERS; i++)
        must(kl_shm_object_destroy(shm, b[i].object), "destroy");
    must(kl_shm_device_unregister(shm, device), "device's end");
    must(kl_shm_destroy(shm), "objects' end");
    must(kl_zone_destroy(zone), "zone's end");
    kl_linux_backing_destroy(backing);
    return pinned == -KL_EBUSY && hooked == 0 && !wrong ? 0 : 1;
}
