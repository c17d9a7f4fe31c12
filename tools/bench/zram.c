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
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SYS "/sys/block/zram0"

static int disk = -1;
static int lock = -1;
static uint64_t disk_pages;

/* Only what a signal handler may do. */
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

/* Others (udev) may have it open for a moment after it has changed. */
static void reset(void)
{
    if (lock < 0)
        return;
    if (disk >= 0)
        close(disk);
    disk = -1;
    for (int i = 0; i < 100 && set(SYS "/reset", "1") == EBUSY; i++)
        usleep(20000);
    close(lock);
    lock = -1;
}

static void interrupted(int number)
{
    reset();
    signal(number, SIG_DFL);
    raise(number);
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
    static bool hooked;
    const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    int dir = open(SYS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    *why = NULL;
    if (dir < 0)
        *why = "there is no /dev/zram0";
    else if (flock(dir, LOCK_EX | LOCK_NB) != 0)
        *why = "another program measures /dev/zram0";
    if (*why) {
        if (dir >= 0)
            close(dir);
        return -1;
    }
    if (!hooked) {
        atexit(reset);
        for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
            signal(signals[i], interrupted);
        hooked = true;
    }
    *why = set_up(bytes);
    if (*why) {
        close(dir);
        return -1;
    }
    lock = dir;
    disk_pages = bytes / PAGE;
    return disk;
}

void zram_close(void)
{
    reset();
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
