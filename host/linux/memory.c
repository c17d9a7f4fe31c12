// SPDX-License-Identifier: Apache-2.0
/* memory.c - how much ordinary memory this process could still get.
 *
 * Linux promises a memfd more than there is and kills somebody when it is
 * touched.  Whoever wants a lot at once therefore asks here first.  The answer is
 * the least of what the machine has available and of what each memory cgroup,
 * from this process's own up to the top, leaves under its limit; version 1 and
 * version 2 are both looked at, for a machine may have both mounted.  A group's
 * file cache that is not in use counts as free, as the machine's does.
 *
 * Files are read afresh each time.  `root` goes before every path: "" but in tests.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The names that the two versions of cgroups have for the same figures. */
struct group_files {
    bool v2;
    const char *limit;
    const char *used;
    const char *cache; /* in memory.stat */
};

static const struct group_files versions[] = {
    {false, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "},
    {true, "memory.max", "memory.current", "inactive_file "},
};

static const char high[] = "memory.high"; /* of version 2: who is above it is held up */

/* A hierarchy as it is mounted: which group of it, and where. */
struct group_mount {
    char top[PATH_MAX]; /* the group that is mounted */
    char at[PATH_MAX];  /* the folder that it is mounted at */
};

static FILE *open_in(const char *folder, const char *name)
{
    char path[PATH_MAX];
    int len = snprintf(path, sizeof(path), "%s/%s", folder, name);

    return len > 0 && (size_t)len < sizeof(path) ? fopen(path, "re") : NULL;
}

static int64_t parse_number(const char *text)
{
    char *end;
    long long value;

    errno = 0;
    value = strtoll(text, &end, 10);
    return errno || end == text || value < 0 ? -1 : value;
}

int64_t kli_read_number(const char *folder, const char *name, const char *key)
{
    FILE *file = open_in(folder, name);
    size_t len = strlen(key);
    int64_t value = -1;
    char line[256];

    if (!file)
        return -1;
    while (fgets(line, sizeof(line), file)) {
        if (strncmp(line, key, len) == 0) {
            value = parse_number(line + len);
            break;
        }
    }
    fclose(file);
    return value;
}

static bool lists(char *list, const char *word)
{
    char *save = NULL;

    for (char *item = strtok_r(list, ",\n", &save); item; item = strtok_r(NULL, ",\n", &save)) {
        if (strcmp(item, word) == 0)
            return true;
    }
    return false;
}

/* One line of /proc/self/cgroup, NUMBER:CONTROLLERS:PATH; the path if it is that
 * of the memory controller, else NULL.  Version 2 names no controllers. */
static char *group_of_line(char *line, bool v2)
{
    char *controllers = strchr(line, ':');
    char *path = controllers ? strchr(controllers + 1, ':') : NULL;

    if (!path)
        return NULL;
    *controllers++ = '\0';
    *path++ = '\0';
    path[strcspn(path, "\n")] = '\0';
    if (v2)
        return strcmp(line, "0") == 0 && !*controllers ? path : NULL;
    return lists(controllers, "memory") ? path : NULL;
}

/* One line of /proc/self/mountinfo: is it the memory controller's? */
static bool mount_of_line(char *line, bool v2, struct group_mount *mount)
{
    enum { MOUNTED = 3, MOUNT_POINT = 4 };
    char *save = NULL;
    char *word = strtok_r(line, " ", &save);
    char *type;
    char *options;

    for (int i = 0; word && strcmp(word, "-") != 0; i++, word = strtok_r(NULL, " ", &save)) {
        if (i == MOUNTED)
            snprintf(mount->top, sizeof(mount->top), "%s", word);
        if (i == MOUNT_POINT)
            snprintf(mount->at, sizeof(mount->at), "%s", word);
    }
    type = strtok_r(NULL, " ", &save);
    strtok_r(NULL, " ", &save); /* the source */
    options = strtok_r(NULL, " ", &save);
    if (!word || !type || !options)
        return false;
    return v2 ? strcmp(type, "cgroup2") == 0
              : strcmp(type, "cgroup") == 0 && lists(options, "memory");
}

static bool find_group(const char *proc, bool v2, char group[PATH_MAX])
{
    FILE *file = open_in(proc, "self/cgroup");
    char *line = NULL;
    size_t cap = 0;
    bool found = false;

    while (file && !found && getline(&line, &cap, file) > 0) {
        const char *path = group_of_line(line, v2);

        found = path && strlen(path) < PATH_MAX;
        if (found)
            memcpy(group, path, strlen(path) + 1);
    }
    free(line);
    if (file)
        fclose(file);
    return found;
}

static bool find_mount(const char *proc, bool v2, struct group_mount *mount)
{
    FILE *file = open_in(proc, "self/mountinfo");
    char *line = NULL;
    size_t cap = 0;
    bool found = false;

    while (file && !found && getline(&line, &cap, file) > 0)
        found = mount_of_line(line, v2, mount);
    free(line);
    if (file)
        fclose(file);
    return found;
}

/* The group's path below the one that is mounted; "" where it is not below. */
static const char *below(const struct group_mount *mount, const char *group)
{
    size_t len = strcmp(mount->top, "/") == 0 ? 0 : strlen(mount->top);

    if (strncmp(group, mount->top, len) != 0 || (group[len] != '/' && group[len]) ||
        strstr(group, "/..") || strcmp(group, "/") == 0)
        return "";
    return group + len;
}

static int64_t less(int64_t a, int64_t b)
{
    if (a < 0 || b < 0)
        return a < 0 ? b : a;
    return a < b ? a : b;
}

/* What of a limit is used, and what is left. */
static struct kli_room room_of(const char *folder, const struct group_files *files, int64_t limit)
{
    int64_t used = kli_read_number(folder, files->used, "");
    int64_t cache;

    if (limit < 0 || used < 0)
        return (struct kli_room){-1, -1};
    cache = kli_read_number(folder, "memory.stat", files->cache);
    if (cache > 0)
        used -= cache < used ? cache : used;
    return (struct kli_room){used < limit ? limit - used : 0, limit};
}

/* What one group leaves; -1: it has no limit. */
static int64_t group_room(const char *folder, const struct group_files *files)
{
    return room_of(folder, files, kli_read_number(folder, files->limit, "")).room;
}

bool kli_memory_group(const char *root, bool v2, struct kli_group *found)
{
    struct group_mount mount;
    char group[PATH_MAX];
    int len;

    snprintf(found->folder, sizeof(found->folder), "%s/proc", root);
    if (!find_group(found->folder, v2, group) || !find_mount(found->folder, v2, &mount))
        return false;
    found->v2 = v2;
    found->top = strlen(root) + strlen(mount.at);
    len = snprintf(found->folder, sizeof(found->folder), "%s%s%s", root, mount.at,
                   below(&mount, group));
    return len >= 0 && (size_t)len < sizeof(found->folder);
}

bool kli_memory_group_up(struct kli_group *group)
{
    if (strlen(group->folder) <= group->top)
        return false;
    *strrchr(group->folder, '/') = '\0';
    return true;
}

struct kli_room kli_memory_group_room(const struct kli_group *group)
{
    const struct group_files *files = &versions[group->v2];
    int64_t limit = kli_read_number(group->folder, files->limit, "");

    if (group->v2)
        limit = less(limit, kli_read_number(group->folder, high, ""));
    else if (limit > INT64_MAX / 2) /* version 1 has a number for none */
        limit = -1;
    return room_of(group->folder, files, limit);
}

struct kli_room kli_memory_machine_room(const char *root)
{
    static const char total[] = "MemTotal:", available[] = "MemAvailable:";
    struct kli_room machine = {-1, -1};
    char line[PATH_MAX];
    FILE *file;

    snprintf(line, sizeof(line), "%s/proc", root);
    file = open_in(line, "meminfo");
    while (file && machine.room < 0 && fgets(line, sizeof(line), file)) {
        if (strncmp(line, total, strlen(total)) == 0)
            machine.limit = parse_number(line + strlen(total));
        else if (strncmp(line, available, strlen(available)) == 0)
            machine.room = parse_number(line + strlen(available));
    }
    if (file)
        fclose(file);
    if (machine.room < 0 || machine.limit <= 0)
        return (struct kli_room){-1, -1};
    return (struct kli_room){machine.room * 1024, machine.limit * 1024};
}

/* What this process's group and those above it leave; -1: none has a limit. */
static int64_t groups_room(const char *root, const struct group_files *files)
{
    struct kli_group group = {.v2 = false};
    int64_t room = -1;

    if (!kli_memory_group(root, files->v2, &group))
        return -1;
    do
        room = less(room, group_room(group.folder, files));
    while (kli_memory_group_up(&group));
    return room;
}

int64_t kli_memory_available(const char *root)
{
    char proc[PATH_MAX];
    int64_t least;

    snprintf(proc, sizeof(proc), "%s/proc", root);
    least = kli_read_number(proc, "meminfo", "MemAvailable:");
    if (least >= 0)
        least *= 1024;
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++)
        least = less(least, groups_room(root, &versions[i]));
    return least;
}

int64_t kl_linux_memory_available(void)
{
    return kli_memory_available("");
}

int64_t kl_linux_memory_available_on(unsigned numa)
{
    int64_t free, cache;
    char folder[64], key[64];

    if (numa == 0)
        return kl_linux_memory_available();
    snprintf(folder, sizeof(folder), "/sys/devices/system/node/node%u", numa - 1);
    snprintf(key, sizeof(key), "Node %u MemFree:", numa - 1);
    free = kli_read_number(folder, "meminfo", key);
    snprintf(key, sizeof(key), "Node %u Inactive(file):", numa - 1);
    cache = kli_read_number(folder, "meminfo", key);
    if (free < 0)
        return -1;
    return less((free + (cache > 0 ? cache : 0)) * 1024, kl_linux_memory_available());
}
