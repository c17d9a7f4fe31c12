// SPDX-License-Identifier: Apache-2.0
/* zram.c - /dev/zram0 as a peer.
 *
 * What the kernel's metadata takes it does not say.  The estimate: 16 bytes for each
 * page of the disk (the table), a handle of 8 bytes for each object, and a descriptor
 * of 64 bytes for each zspage, of which there is one for some four frames.  The
 * compressor's contexts are left out. */
#include "zram.h"

#include "kit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SYS "/sys/block/zram0"

static int disk = -1;
static int lifeline = -1; /* what the guard waits for to be closed */
static pid_t guard;
static uint64_t disk_pages;

static int set(const char *path, const char *value)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC), err = 0;

    if (fd < 0)
        return errno;
    if (write(fd, value, strlen(value)) < 0)
        err = errno;
    close(fd);
    return err;
}

/* Waits for the end of the other process, however it comes, and resets the disk.  Others
 * (udev) may have it open for a moment after it has changed. */
static _Noreturn void guard_run(int end)
{
    const struct timespec moment = {.tv_nsec = 20000000};
    char byte;

    setsid(); /* out of reach of a Ctrl-C */
    while (read(end, &byte, 1) < 0 && errno == EINTR)
        ;
    for (int i = 0; i < 250 && set(SYS "/reset", "1") == EBUSY; i++)
        nanosleep(&moment, NULL);
    _exit(0);
}

/* The guard has the lock as well, and keeps it until the disk is reset. */
static bool guard_start(void)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    guard = fork();
    if (guard == 0) {
        close(ends[1]);
        guard_run(ends[0]);
    }
    close(ends[0]);
    lifeline = ends[1];
    return guard > 0;
}

static bool first_line(const char *name, char *line, int bytes)
{
    FILE *file = fopen(name, "re");
    bool good = file && fgets(line, bytes, file);

    if (file)
        fclose(file);
    return good;
}

static const char *set_up(uint64_t bytes)
{
    char text[256];

    if (!first_line(SYS "/disksize", text, sizeof(text)) || strtoull(text, NULL, 10) != 0)
        return "/dev/zram0 is in use";
    if (!guard_start())
        return "/dev/zram0: no process to guard it";
    if (set(SYS "/comp_algorithm", "lz4") != 0)
        return "/dev/zram0 can't be set to lz4 (or not by this user)";
    snprintf(text, sizeof(text), "%" PRIu64, bytes);
    if (set(SYS "/disksize", text) != 0)
        return "/dev/zram0 can't be set up";
    disk = open("/dev/zram0", O_RDWR | O_DIRECT | O_CLOEXEC);
    return disk < 0 ? "/dev/zram0 can't be opened" : NULL;
}

int zram_open(uint64_t bytes, const char **why)
{
    int dir = open(SYS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    *why = NULL;
    if (dir < 0)
        *why = "there is no /dev/zram0";
    else if (flock(dir, LOCK_EX | LOCK_NB) != 0)
        *why = "another program measures /dev/zram0";
    else
        *why = set_up(bytes);
    if (dir >= 0)
        close(dir); /* the guard's copy holds the lock */
    if (*why)
        zram_close();
    disk_pages = bytes / PAGE;
    return disk;
}

void zram_close(void)
{
    if (disk >= 0)
        close(disk);
    disk = -1;
    if (lifeline >= 0)
        close(lifeline);
    lifeline = -1;
    if (guard > 0)
        waitpid(guard, NULL, 0);
    guard = 0;
}

struct zram_stat zram_stat(void)
{
    struct zram_stat s = {0};
    uint64_t orig = 0, dummy;
    char line[256];

    if (!first_line(SYS "/mm_stat", line, sizeof(line)) ||
        sscanf(line,
               "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
               " %" SCNu64,
               &orig, &s.payload, &s.used, &dummy, &dummy, &s.same, &dummy, &s.raw) != 8)
        die("/dev/zram0 has no statistics");
    s.metadata = disk_pages * 16 + (orig / PAGE - s.same) * 8 + s.used / PAGE / 4 * 64;
    return s;
}

void zram_compact(void)
{
    int err = set(SYS "/compact", "1");

    if (err)
        die("/dev/zram0 can't be compacted: %s", strerror(err));
}

void zram_discard(uint64_t first, uint64_t pages)
{
    uint64_t range[2] = {first * PAGE, pages * PAGE};

    if (ioctl(disk, BLKDISCARD, range) != 0)
        die("/dev/zram0: discard: %s", strerror(errno));
}
