// SPDX-License-Identifier: Apache-2.0
/* cmd_disk.c - `klotski disk`: reads what the disk shall be, has it started, and
 * says how to reach it. */
#include "cli.h"
#include "launch.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>

struct disk_options {
    struct launch launch;
    bool size_given;
    char text[LAUNCH_MAX_ARGS][64];
};

static void setting(struct disk_options *disk, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void setting(struct disk_options *disk, const char *format, ...)
{
    struct launch *launch = &disk->launch;
    va_list ap;

    if (launch->nsettings == LAUNCH_MAX_ARGS)
        return;
    char *text = disk->text[launch->nsettings];
    va_start(ap, format);
    vsnprintf(text, sizeof(disk->text[0]), format, ap);
    va_end(ap);
    launch->settings[launch->nsettings++] = text;
}

/* Only the form is looked at: what is possible is the plugin's to say. */
static int set_bytes(struct disk_options *disk, const char *key, const char *value)
{
    uint64_t bytes;

    if (!cli_parse_size(value, &bytes))
        return cli_usage(&cli_cmd_disk, "--%s is not a size: %s", key, value);
    setting(disk, "%s=%" PRIu64, key, bytes);
    return CLI_GO;
}

static int set_size(void *ctx, const char *value)
{
    ((struct disk_options *)ctx)->size_given = true;
    return set_bytes(ctx, "size", value);
}

static int set_memory(void *ctx, const char *value)
{
    return set_bytes(ctx, "memory", value);
}

static int set_block(void *ctx, const char *value)
{
    return set_bytes(ctx, "block", value);
}

static int set_cma(void *ctx, const char *value)
{
    return set_bytes(ctx, "cma", value);
}

static int set_limit(void *ctx, const char *value)
{
    return set_bytes(ctx, "limit", value);
}

static int set_backing(void *ctx, const char *value)
{
    static const char *const kinds[] = {"auto", "hugetlb", "hugetlb-1g", "memfd"};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(value, kinds[i]) != 0)
            continue;
        setting(ctx, "backing=%s", value);
        return CLI_GO;
    }
    return cli_usage(&cli_cmd_disk, "--backing is auto, hugetlb, hugetlb-1g or memfd, not %s",
                     value);
}

static int set_numa(void *ctx, const char *value)
{
    size_t digits = strspn(value, "0123456789");

    if (digits == 0 || value[digits] || digits > 4)
        return cli_usage(&cli_cmd_disk, "--numa is a node's number, not %s", value);
    setting(ctx, "numa=%s", value);
    return CLI_GO;
}

static int set_compress(void *ctx, const char *value)
{
    if (strlen(value) > 32)
        return cli_usage(&cli_cmd_disk, "--compress is lz4 or zstd, with or without :LEVEL");
    setting(ctx, "compress=%s", value);
    return CLI_GO;
}

static int set_recompress(void *ctx, const char *value)
{
    if (strlen(value) > 32)
        return cli_usage(&cli_cmd_disk, "--recompress is lz4 or zstd, with or without :LEVEL");
    setting(ctx, "recompress=%s", value);
    return CLI_GO;
}

static int set_idle(void *ctx, const char *value)
{
    size_t digits = strspn(value, "0123456789");

    if (digits == 0 || value[digits] || digits > 7)
        return cli_usage(&cli_cmd_disk, "--idle is a number of seconds, not %s", value);
    setting(ctx, "idle=%s", value);
    return CLI_GO;
}

/* A path or an URI may be long. */
static int set_writeback(void *ctx, const char *value)
{
    struct launch *launch = &((struct disk_options *)ctx)->launch;
    static char text[PATH_MAX + 16];

    if (strlen(value) >= PATH_MAX)
        return cli_usage(&cli_cmd_disk, "--writeback is too long");
    snprintf(text, sizeof(text), "writeback=%s", value);
    for (unsigned i = 0; i < launch->nsettings; i++)
        if (launch->settings[i] == text)
            return CLI_GO; /* given twice: the last one counts */
    if (launch->nsettings < LAUNCH_MAX_ARGS)
        launch->settings[launch->nsettings++] = text;
    return CLI_GO;
}

static int set_writeback_size(void *ctx, const char *value)
{
    return set_bytes(ctx, "writeback-size", value);
}

static int set_writeback_rate(void *ctx, const char *value)
{
    return set_bytes(ctx, "writeback-rate", value);
}

static int set_small(struct disk_options *disk, const char *key, const char *value)
{
    size_t digits = strspn(value, "0123456789");

    if (digits == 0 || value[digits] || digits > 7)
        return cli_usage(&cli_cmd_disk, "--%s is a number, not %s", key, value);
    setting(disk, "%s=%s", key, value);
    return CLI_GO;
}

static int set_writeback_age(void *ctx, const char *value)
{
    return set_small(ctx, "writeback-age", value);
}

static int set_writeback_share(void *ctx, const char *value)
{
    return set_small(ctx, "writeback-share", value);
}

static int set_dedup(void *ctx, const char *value)
{
    (void)value;
    setting(ctx, "dedup=true");
    return CLI_GO;
}

static int set_populate(void *ctx, const char *value)
{
    (void)value;
    setting(ctx, "populate=true");
    return CLI_GO;
}

static int set_no_compact(void *ctx, const char *value)
{
    (void)value;
    setting(ctx, "auto-compact=false");
    return CLI_GO;
}

static int set_pressure(void *ctx, const char *value)
{
    static const char *const kinds[] = {"auto", "psi", "cgroup", "poll", "off"};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(value, kinds[i]) != 0)
            continue;
        setting(ctx, "pressure=%s", value);
        return CLI_GO;
    }
    return cli_usage(&cli_cmd_disk, "--pressure is auto, psi, cgroup, poll or off, not %s", value);
}

static int set_foreground(void *ctx, const char *value)
{
    (void)value;
    ((struct disk_options *)ctx)->launch.foreground = true;
    return CLI_GO;
}

static const struct cli_option options[] = {
    {"size", true, set_size},
    {"memory", true, set_memory},
    {"block", true, set_block},
    {"limit", true, set_limit},
    {"cma", true, set_cma},
    {"backing", true, set_backing},
    {"numa", true, set_numa},
    {"compress", true, set_compress},
    {"recompress", true, set_recompress},
    {"idle", true, set_idle},
    {"dedup", false, set_dedup},
    {"writeback", true, set_writeback},
    {"writeback-size", true, set_writeback_size},
    {"writeback-age", true, set_writeback_age},
    {"writeback-share", true, set_writeback_share},
    {"writeback-rate", true, set_writeback_rate},
    {"populate", false, set_populate},
    {"no-auto-compact", false, set_no_compact},
    {"pressure", true, set_pressure},
    {"foreground", false, set_foreground},
    {NULL, false, NULL},
};

static void say_ready(const struct cli_disk *disk, struct json_object *stat)
{
    struct json_object *zone = cli_get(stat, "zone"), *facts = cli_get(stat, "disk");
    char size[CLI_TEXT], memory[CLI_TEXT], uri[CLI_URI_MAX], nbd[CLI_QUOTED_MAX];

    printf("disk '%s' is ready, pid %" PRIu64 ": %s, in a zone of %s (%s)\n", disk->name,
           cli_get_u64(facts, "pid"), cli_bytes(cli_get_u64(facts, "size"), size),
           cli_bytes(cli_get_u64(zone, "frames") * cli_get_u64(zone, "frame_bytes"), memory),
           cli_get_str(facts, "backing"));
    printf("\n  uri='%s'\n\n"
           "  nbdinfo \"$uri\"\n"
           "  nbdcopy image.raw \"$uri\"                          # copy something in\n"
           "  qemu-img convert -n -O raw image.qcow2 \"$uri\"     # or so\n"
           "  nbd-client -unix %s /dev/nbd0    # a block device (root)\n"
           "\n"
           "  klotski stat %s; klotski map %s; klotski stop %s\n",
           cli_uri(disk->nbd, uri), cli_quote(disk->nbd, nbd), disk->name, disk->name, disk->name);
}

static void say_json(const struct cli_disk *disk, struct json_object *stat)
{
    struct json_object *out = json_object_new_object();
    char uri[CLI_URI_MAX];

    json_object_object_add(out, "name", json_object_new_string(disk->name));
    json_object_object_add(out, "uri", json_object_new_string(cli_uri(disk->nbd, uri)));
    json_object_object_add(out, "control", json_object_new_string(disk->control));
    json_object_object_add(out, "pid",
                           json_object_new_uint64(cli_get_u64(cli_get(stat, "disk"), "pid")));
    cli_print_json(out);
    json_object_put(out);
}

/* After "--": options and key=value words for nbdkit. */
static int take_extra(const struct cli_command *self, struct disk_options *disk,
                      const struct cli_args *args)
{
    struct launch *launch = &disk->launch;

    if (args->nrest == 0)
        return CLI_GO;
    if (strcmp(args->rest[0], "--") != 0)
        return cli_usage(self, "what is '%s'?  A name is given with --name", args->rest[0]);
    launch->extra = args->rest + 1;
    for (int i = 1; i < args->nrest; i++) {
        char *word = args->rest[i];
        if (word[0] == '-') {
            launch->extra[launch->nextra++] = word;
            continue;
        }
        if (launch->nsettings == LAUNCH_MAX_ARGS)
            return cli_usage(self, "too many arguments");
        launch->settings[launch->nsettings++] = word;
    }
    if (launch->nextra > LAUNCH_MAX_ARGS)
        return cli_usage(self, "too many arguments");
    return CLI_GO;
}

static int run_disk(const struct cli_command *self, int argc, char **argv)
{
    static struct disk_options disk;
    struct cli_args args;
    struct cli_disk where;
    struct json_object *stat;

    int rc = cli_parse(self, argc, argv, options, &disk, &args);
    if (rc == CLI_GO)
        rc = take_extra(self, &disk, &args);
    if (rc == CLI_GO && args.socket != NULL)
        rc = cli_usage(self, "a disk gets its sockets from its --name");
    if (rc == CLI_GO)
        rc = cli_disk_paths(args.disk != NULL ? args.disk : "disk", true, &where);
    if (rc != CLI_GO)
        return rc;
    if (!disk.size_given)
        setting(&disk, "size=1G");
    disk.launch.disk = &where;
    rc = launch_start(&disk.launch, &stat);
    if (rc != CLI_GO)
        return rc;
    cli_done("disk '%s' runs, with pid %" PRIu64, where.name,
             cli_get_u64(cli_get(stat, "disk"), "pid"));
    if (args.json)
        say_json(&where, stat);
    else
        say_ready(&where, stat);
    json_object_put(stat);
    rc = cli_flush();
    if (disk.launch.foreground && launch_wait(&disk.launch) != CLI_OK)
        rc = CLI_FAIL;
    return rc;
}

const struct cli_command cli_cmd_disk = {
    .name = "disk",
    .synopsis = "[--name NAME] [--size S] [--memory S] [OPTIONS] [-- WORDS]",
    .brief = "start a compressed RAM disk in a zone of huge pages",
    .help =
        "Starts nbdkit with the klotski plugin on a Unix socket and says how to connect.\n"
        "\n"
        "  --name NAME        the disk's name (disk)\n"
        "  --size S           what clients see (1G); it may be more than the memory\n"
        "  --memory S         the most memory that it may use (the limit,\n"
        "                     or the size)\n"
        "  --backing B        hugetlb, hugetlb-1g (pages of 1 GiB), memfd, or auto: hugetlb if\n"
        "                     so many huge pages are free\n"
        "  --numa N           memory of NUMA node N only\n"
        "  --block S          what is compressed at a time, 4K (the default) to 64K\n"
        "  --compress C       lz4 or zstd (the default), or with a level: zstd:9\n"
        "  --recompress C     the same, for blocks that are idle: a second, denser compressor\n"
        "  --idle SECONDS     after how long a block is idle (300 with --recompress)\n"
        "  --dedup            equal blocks share their memory\n"
        "  --limit S          of memory for data; a write beyond it fails with ENOSPC, or waits\n"
        "                     until others are written back\n"
        "  --cma S            of the memory, an area where only what can move is: klotski take\n"
        "                     draws from there first\n"
        "  --writeback T      file, block device or NBD URI where cold and incompressible blocks\n"
        "                     go, and come back from when they are read\n"
        "  --writeback-size S, --writeback-rate S\n"
        "                     so much of it; no more bytes a second\n"
        "  --writeback-age SECONDS, --writeback-share N\n"
        "                     blocks not used for so long (60), while more than N % of the limit\n"
        "                     is in use (80)\n"
        "  --populate         get all the memory now\n"
        "  --no-auto-compact  compact when `klotski compact` says so, not by itself\n"
        "  --pressure P       how to find out that the machine is short of memory: psi, cgroup,\n"
        "                     poll, off, or auto: what there is (off with huge\n"
        "                     pages and with --populate)\n"
        "  --foreground       stay, and end the disk when this ends\n"
        "  -- WORDS           for nbdkit: --options (as one word each) and key=value\n"
        "\n"
        "Sizes: 4096, 32K, 128M, 2G (powers of 1024).  The sockets are in $KLOTSKI_RUNDIR,\n"
        "else $XDG_RUNTIME_DIR/klotski, else /tmp/klotski-UID.  $KLOTSKI_PLUGIN names another\n"
        "plugin file, $NBDKIT another nbdkit.\n",
    .run = run_disk,
};
