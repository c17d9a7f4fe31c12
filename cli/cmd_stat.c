// SPDX-License-Identifier: Apache-2.0
/* cmd_stat.c - `klotski stat`: the state of one disk. */
#include "cli.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int set_get(void *ctx, const char *value)
{
    *(const char **)ctx = value;
    return CLI_GO;
}

/* The value at "zone.used_frames". */
static int print_field(struct json_object *reply, const char *path)
{
    char *copy = strdup(path), *rest = copy;
    struct json_object *at = reply;

    for (const char *name; (name = strsep(&rest, ".")) != NULL;)
        at = cli_get(at, name); /* nothing has the empty name */
    free(copy);
    if (at == NULL) {
        cli_error("the disk reports no '%s'", path);
        return CLI_FAIL;
    }
    puts(json_object_get_string(at));
    return CLI_OK;
}

/* What is there only where it was asked for. */
static void print_savings(struct json_object *store, struct json_object *disk)
{
    uint64_t shared = cli_get_u64(store, "shared"), objects = cli_get_u64(store, "shared_objects");
    uint64_t block = cli_get_u64(disk, "block");
    char a[CLI_TEXT], b[CLI_TEXT], c[CLI_TEXT];

    printf("  most      %s of frames\n", cli_bytes(cli_get_u64(store, "peak_frame_bytes"), a));
    if (cli_get(disk, "recompress"))
        printf("  cold      %s blocks by %s level %" PRId64 ", after %" PRIu64
               " s idle; %s saved so far\n",
               cli_count(cli_get_u64(store, "recompressed_blocks"), a),
               cli_get_str(disk, "recompress"), cli_get_i64(disk, "recompress_level"),
               cli_get_u64(disk, "idle_seconds"),
               cli_bytes(cli_get_u64(store, "recompression_saved_bytes"), b));
    if (shared > 0)
        printf("  shared    %s blocks share %s objects: %s less to hold\n", cli_count(shared, a),
               cli_count(objects, b), cli_bytes((shared - objects) * block, c));
}

static void print_writeback(struct json_object *reply)
{
    struct json_object *back = cli_get(reply, "writeback");
    char a[CLI_TEXT], b[CLI_TEXT], c[CLI_TEXT], d[CLI_TEXT];

    if (back == NULL)
        return;
    printf("  target    %s\n", cli_get_str(back, "text"));
    printf("  away      %s blocks in %s of its %s; %s written so far, %s brought back\n",
           cli_count(cli_get_u64(back, "blocks"), a), cli_bytes(cli_get_u64(back, "used_bytes"), b),
           cli_bytes(cli_get_u64(back, "target_bytes"), c),
           cli_count(cli_get_u64(back, "written"), d),
           cli_count(cli_get_u64(back, "read_back"), (char[CLI_TEXT]){0}));
    if (cli_get_u64(back, "failed_writes") + cli_get_u64(back, "failed_reads") > 0)
        printf("  failed    %s writes (their blocks stayed), %s reads, %s of them of lost data\n",
               cli_count(cli_get_u64(back, "failed_writes"), a),
               cli_count(cli_get_u64(back, "failed_reads"), b),
               cli_count(cli_get_u64(back, "lost"), c));
}

static void print_disk(struct json_object *reply, const struct cli_disk *where)
{
    struct json_object *disk = cli_get(reply, "disk"), *store = cli_get(reply, "store");
    char a[CLI_TEXT], b[CLI_TEXT], c[CLI_TEXT], d[CLI_TEXT], uri[CLI_URI_MAX];
    uint64_t packed = cli_get_u64(store, "compressed"), raw = cli_get_u64(store, "raw");
    uint64_t shared = cli_get_u64(store, "shared"), written = cli_get_u64(store, "written");
    uint64_t same = cli_get_u64(store, "same"), block = cli_get_u64(disk, "block");
    uint64_t payload = cli_get_u64(store, "payload_bytes"),
             frames = cli_get_u64(store, "frame_bytes");

    printf("disk '%s', pid %" PRIu64 "\n", where->name, cli_get_u64(disk, "pid"));
    if (where->nbd[0] != '\0')
        printf("  connect   '%s'\n", cli_uri(where->nbd, uri));
    printf("  size      %s in blocks of %s, %s level %" PRId64 "\n",
           cli_bytes(cli_get_u64(disk, "size"), a), cli_bytes(block, b),
           cli_get_str(disk, "compress"), cli_get_i64(disk, "level"));
    printf("  holds     %s: %s blocks compressed, %s raw, %s same-filled\n",
           cli_bytes((packed + raw + same + shared + written) * block, a), cli_count(packed, b),
           cli_count(raw, c), cli_count(same, d));
    printf("  payload   %s in %s of frames (%u %% dense), metadata %s\n", cli_bytes(payload, a),
           cli_bytes(frames, b), cli_percent(payload, frames),
           cli_bytes(cli_get_u64(store, "metadata_bytes"), c));
    if (cli_get_u64(store, "limit_bytes") > 0)
        printf("  limit     %s\n", cli_bytes(cli_get_u64(store, "limit_bytes"), a));
    print_savings(store, disk);
    printf("  done      %s writes, %s reads, %s discards; %s writes refused\n",
           cli_count(cli_get_u64(store, "writes"), a), cli_count(cli_get_u64(store, "reads"), b),
           cli_count(cli_get_u64(store, "discards"), c),
           cli_count(cli_get_u64(store, "refused"), d));
}

static void print_system(struct json_object *reply)
{
    struct json_object *system = cli_get(reply, "system");
    int64_t total = cli_get_i64(system, "hugepages_total");
    char a[CLI_TEXT], b[CLI_TEXT], c[CLI_TEXT];

    printf("  system    %s held", cli_bytes(cli_get_u64(system, "resident_bytes"), a));
    if (total > 0)
        printf("; huge pages: %s of %s free", cli_count(cli_get_u64(system, "hugepages_free"), b),
               cli_count((uint64_t)total, c));
    putchar('\n');
}

/* "12 x 4 KiB, 3 x 8 KiB" on as many lines as it needs. */
static void print_free_runs(struct json_object *zone)
{
    struct json_object *runs = cli_get(zone, "free_runs");
    uint64_t frame = cli_get_u64(zone, "frame_bytes");
    unsigned column = 12;

    printf("  free runs ");
    for (size_t order = 0; order < cli_length(runs); order++) {
        uint64_t n = json_object_get_uint64(json_object_array_get_idx(runs, order));
        char a[CLI_TEXT], b[CLI_TEXT], item[2 * CLI_TEXT + 8];

        if (n == 0)
            continue;
        int len =
            snprintf(item, sizeof(item), "%s x %s", cli_count(n, a), cli_bytes(frame << order, b));
        if (column > 12 && column + 2 + (unsigned)len > 80) {
            printf(",\n            ");
            column = 12;
        }
        column += (unsigned)printf("%s%s", column > 12 ? ", " : "", item);
    }
    puts(column == 12 ? "none" : "");
}

static void print_indexes(struct json_object *zone)
{
    struct json_object *list = cli_get(zone, "indexes");
    char text[CLI_TEXT];

    for (size_t i = 0; i < cli_length(list); i++) {
        struct json_object *item = json_object_array_get_idx(list, i);
        uint64_t order = cli_get_u64(item, "order");
        int64_t unusable = cli_get_i64(item, "unusable");
        int64_t fragmentation = cli_get_i64(item, "fragmentation");

        printf("  order %-3" PRIu64 " %s: %" PRId64 ".%" PRId64 " %% of what is free is unusable, ",
               order, cli_bytes(cli_get_u64(zone, "frame_bytes") << order, text), unusable / 10,
               unusable % 10);
        if (fragmentation < 0)
            puts("but one can be had");
        else
            printf("fragmentation %" PRId64 ".%03" PRId64 "\n", fragmentation / 1000,
                   fragmentation % 1000);
    }
}

static void print_runs(struct json_object *zone)
{
    static const char *const runs[] = {"compact", "contig", "give_back"};
    static const char *const names[] = {"compactions", "ranges", "takes"};
    static const char *const ends[] = {"again", "nomem", "busy", "other"};
    char text[CLI_TEXT];

    printf("  runs      ");
    for (size_t i = 0; i < 3; i++) {
        struct json_object *run = cli_get(zone, runs[i]);

        printf("%s%s: ", i > 0 ? "; " : "", names[i]);
        printf("%s of ", cli_count(cli_get_u64(run, "succeeded"), text));
        printf("%s", cli_count(cli_get_u64(run, "asked"), text));
        for (size_t j = 0; j < 4; j++)
            if (cli_get_u64(run, ends[j]) > 0)
                printf(", %s %s", cli_count(cli_get_u64(run, ends[j]), text), ends[j]);
    }
    putchar('\n');
}

/* When background work begins, as far as that is set, and whether it has to do now. */
static void print_marks(struct json_object *zone)
{
    struct json_object *marks = cli_get(zone, "marks"), *wanted = cli_get(zone, "wanted");
    uint64_t start = cli_get_u64(marks, "waste_start"), stop = cli_get_u64(marks, "waste_stop");
    uint64_t spare = cli_get_u64(marks, "spare_blocks"), least = cli_get_u64(marks, "waste_blocks");

    if (start > 0)
        printf("  packs     blocks from %" PRIu64 ".%" PRIu64 " %% waste to %" PRIu64 ".%" PRIu64
               " %%, for %" PRIu64 " blocks or more\n",
               start / 10, start % 10, stop / 10, stop % 10, least > 0 ? least : 1);
    if (spare > 0)
        printf("  keeps     %" PRIu64 " of the free blocks, others go back to the system\n", spare);
    if (cli_length(wanted) > 0)
        printf("  to do");
    for (size_t i = 0; i < cli_length(wanted); i++)
        printf("%s %s", i ? "," : "    ",
               json_object_get_string(json_object_array_get_idx(wanted, i)));
    if (cli_length(wanted) > 0)
        putchar('\n');
}

static void print_sources(struct json_object *pressure)
{
    struct json_object *by = cli_get(pressure, "by");
    char a[CLI_TEXT], b[CLI_TEXT];

    for (size_t i = 0; i < cli_length(by); i++) {
        const char *name = json_object_get_string(json_object_array_get_idx(by, i));

        printf("%s", i > 0 ? ", " : "");
        if (strcmp(name, "psi") == 0)
            printf("stalls (PSI, %" PRIu64 " ms in %" PRIu64 ")", cli_get_u64(pressure, "stall_ms"),
                   cli_get_u64(pressure, "window_ms"));
        else if (strcmp(name, "cgroup") == 0)
            printf("the limit of a cgroup (v%" PRIu64 ")", cli_get_u64(pressure, "cgroup"));
        else if (strcmp(name, "events") == 0)
            printf("its events");
        else
            printf("a look each %" PRIu64 " ms", cli_get_u64(pressure, "interval_ms"));
    }
    if (cli_get_u64(pressure, "limit_bytes") > 0)
        printf("; %s left of %s", cli_bytes(cli_get_u64(pressure, "room_bytes"), a),
               cli_bytes(cli_get_u64(pressure, "limit_bytes"), b));
    putchar('\n');
}

static void print_pressure(struct json_object *reply)
{
    struct json_object *pressure = cli_get(reply, "pressure");
    char a[CLI_TEXT], b[CLI_TEXT];

    printf("  pressure  ");
    if (pressure == NULL) {
        puts("nobody looks out for it");
        return;
    }
    printf("by ");
    print_sources(pressure);
    printf("            now %s; %s times so far, %s returned\n", cli_get_str(pressure, "level"),
           cli_count(cli_get_u64(pressure, "fired"), a),
           cli_bytes(cli_get_u64(pressure, "returned_bytes"), b));
}

static void print_zone(struct json_object *reply)
{
    struct json_object *zone = cli_get(reply, "zone");
    uint64_t frames = cli_get_u64(zone, "frames"), size = cli_get_u64(zone, "frame_bytes");
    uint64_t blocks = cli_get_u64(zone, "blocks"), present = cli_get_u64(zone, "present_blocks");
    uint64_t given = cli_get_u64(zone, "given_blocks"), used = cli_get_u64(zone, "used_frames");
    char a[CLI_TEXT], b[CLI_TEXT], c[CLI_TEXT], d[CLI_TEXT];

    printf("\nzone of %s (%s)\n", cli_bytes(frames * size, a),
           cli_get_str(cli_get(reply, "disk"), "backing"));
    printf("  blocks    %s of %s: %s present (%" PRIu64 " free as a whole), %" PRIu64 " taken\n",
           cli_count(blocks, a), cli_bytes(blocks > 0 ? frames / blocks * size : 0, b),
           cli_count(present, c), cli_get_u64(zone, "free_blocks"), given);
    printf("  frames    %s of %s: %s used (%u %%), ", cli_count(frames, a), cli_bytes(size, b),
           cli_count(used, c), cli_percent(used, frames));
    printf("%s free in present blocks, %s stuck\n", cli_count(cli_get_u64(zone, "free_frames"), a),
           cli_count(cli_get_u64(zone, "stuck_frames"), b));
    print_system(reply);
    printf("  migration %s frames moved, %s failed, %s put back, %s scanned; %s stalls\n",
           cli_count(cli_get_u64(zone, "migrated"), a), cli_count(cli_get_u64(zone, "failed"), b),
           cli_count(cli_get_u64(zone, "put_back"), c), cli_count(cli_get_u64(zone, "scanned"), d),
           cli_count(cli_get_u64(zone, "stalls"), (char[CLI_TEXT]){0}));
    print_marks(zone);
    print_pressure(reply);
    print_runs(zone);
    print_free_runs(zone);
    print_indexes(zone);
}

static void print_zs(struct json_object *reply)
{
    struct json_object *zs = cli_get(reply, "zs");
    char a[CLI_TEXT], b[CLI_TEXT], c[CLI_TEXT], d[CLI_TEXT];

    printf("  zsmalloc  %s objects in %s zspages; %s frames freeable, %s objects moved, %" PRIu64
           " times by itself\n",
           cli_count(cli_get_u64(zs, "objects"), a), cli_count(cli_get_u64(zs, "zspages"), b),
           cli_count(cli_get_u64(zs, "freeable_frames"), c),
           cli_count(cli_get_u64(zs, "objects_moved"), d), cli_get_u64(zs, "automatic_runs"));
}

/* A row an owner, of the figures that the columns name. */
static void print_table(struct json_object *owners, const char *title,
                        const char *const columns[][2], size_t n, int width)
{
    char text[CLI_TEXT];

    printf("\n  %-15s", title);
    for (size_t j = 0; j < n; j++)
        printf(" %*s", width, columns[j][1]);
    putchar('\n');
    for (size_t i = 0; i < cli_length(owners); i++) {
        struct json_object *row = json_object_array_get_idx(owners, i);
        printf("  %-15.15s", cli_get_str(row, "name"));
        for (size_t j = 0; j < n; j++)
            printf(" %*s", width, cli_count(cli_get_u64(row, columns[j][0]), text));
        putchar('\n');
    }
}

static void print_rest(struct json_object *budget, uint64_t frame, const char *what,
                       const char *member)
{
    uint64_t frames = cli_get_u64(budget, member);
    char a[CLI_TEXT], b[CLI_TEXT];

    if (frames > 0)
        printf("  %-12s %8s %8s\n", what, cli_count(frames, a), cli_bytes(frames * frame, b));
}

/* "-" where there is no bound. */
static const char *bound(uint64_t frames, char text[CLI_TEXT])
{
    return frames > 0 ? cli_count(frames, text) : "-";
}

/* One budget: all frames of the zone are in this table once, and so are all bytes. */
static void print_budget(struct json_object *reply)
{
    static const char *const columns[] = {"frames", "bytes", "movable", "pinned",
                                          "idle",   "soft",  "hard",    "refused"};
    struct json_object *budget = cli_get(reply, "budget"), *rows = cli_get(budget, "rows");
    uint64_t frame = cli_get_u64(cli_get(reply, "zone"), "frame_bytes");
    char a[CLI_TEXT], b[CLI_TEXT], c[CLI_TEXT], d[CLI_TEXT];

    if (budget == NULL)
        return;
    printf("\n  %-12s", "who has what");
    for (size_t i = 0; i < 8; i++)
        printf(" %*s", i < 4 ? 8 : i < 7 ? 6 : 7, columns[i]);
    putchar('\n');
    for (size_t i = 0; i < cli_length(rows); i++) {
        struct json_object *row = json_object_array_get_idx(rows, i);

        printf("  %-12.12s %8s %8s %8s %8s", cli_get_str(row, "name"),
               cli_count(cli_get_u64(row, "frames"), a), cli_bytes(cli_get_u64(row, "bytes"), b),
               cli_count(cli_get_u64(row, "movable"), c), cli_count(cli_get_u64(row, "pinned"), d));
        printf(" %6s %6s %6s %7s\n", cli_count(cli_get_u64(row, "idle"), a),
               bound(cli_get_u64(row, "soft"), b), bound(cli_get_u64(row, "hard"), c),
               cli_count(cli_get_u64(row, "refused"), d));
    }
    print_rest(budget, frame, "others", "other_frames");
    print_rest(budget, frame, "free", "free_frames");
    print_rest(budget, frame, "absent", "absent_frames");
    print_rest(budget, frame, "taken", "given_frames");
    print_rest(budget, frame, "withheld", "withheld_frames");
    print_rest(budget, frame, "in all", "frames");
    printf("  %-12s %8s %8s\n", "metadata", "",
           cli_bytes(cli_get_u64(budget, "zone_metadata_bytes") +
                         cli_get_u64(budget, "other_metadata_bytes"),
                     a));
    printf("  %-12s %8s %8s  (blocks that are present, and metadata)\n", "charged", "",
           cli_bytes(cli_get_u64(budget, "charged_bytes"), a));
}

static void print_owners(struct json_object *owners)
{
    static const char *const moves[][2] = {{"scanned", "scanned"},      {"isolations", "isolated"},
                                           {"migrated", "moved"},       {"put_back", "put back"},
                                           {"freed_isolated", "freed"}, {"failed", "failed"},
                                           {"stalls", "stalls"}};

    if (cli_length(owners) == 0)
        return;
    print_table(owners, "since its start", moves, 7, 8);
}

static void print_leases(struct json_object *leases)
{
    char text[CLI_TEXT];

    if (cli_length(leases) == 0)
        return;
    printf("\n  %-8s %12s\n", "taken: id", "size");
    for (size_t i = 0; i < cli_length(leases); i++) {
        struct json_object *row = json_object_array_get_idx(leases, i);
        printf("  %-9" PRIu64 " %12s  %s\n", cli_get_u64(row, "id"),
               cli_bytes(cli_get_u64(row, "bytes"), text),
               cli_get_bool(row, "held") ? "by a program, until it ends" : "until `klotski give`");
    }
}

/* Of leases that have ended. */
static void print_owed(uint64_t bytes)
{
    char text[CLI_TEXT];

    if (bytes > 0)
        printf("\n  %s given again, but the system has no memory for it: tried each second\n",
               cli_bytes(bytes, text));
}

static void print_areas(struct json_object *reply)
{
    struct json_object *areas = cli_get(reply, "areas");
    uint64_t size = cli_get_u64(cli_get(reply, "zone"), "frame_bytes");

    for (size_t i = 0; i < cli_length(areas); i++) {
        struct json_object *row = json_object_array_get_idx(areas, i);
        char a[CLI_TEXT], b[CLI_TEXT], c[CLI_TEXT], d[CLI_TEXT], e[CLI_TEXT];

        printf("\n%s: area of %s, %s allocated (%s of it taken), %s kept, largest %s\n",
               cli_get_str(row, "name"), cli_bytes(cli_get_u64(row, "frames") * size, a),
               cli_bytes(cli_get_u64(row, "allocated_frames") * size, b),
               cli_bytes(cli_get_u64(row, "given_frames") * size, e),
               cli_bytes(cli_get_u64(row, "kept_frames") * size, c),
               cli_bytes(cli_get_u64(row, "largest_frames") * size, d));
        printf("  ranges    %s asked, %s failed; of kept ones %s as they were, %s in part\n",
               cli_count(cli_get_u64(row, "allocs"), a), cli_count(cli_get_u64(row, "failed"), b),
               cli_count(cli_get_u64(row, "exact"), c), cli_count(cli_get_u64(row, "partial"), d));
    }
}

static int report(struct json_object *reply, const struct cli_disk *where, const char *field,
                  bool json)
{
    if (json) {
        cli_print_json(reply);
        return CLI_OK;
    }
    if (field != NULL)
        return print_field(reply, field);
    print_disk(reply, where);
    print_writeback(reply);
    print_zs(reply);
    print_zone(reply);
    print_budget(reply);
    print_areas(reply);
    print_owners(cli_get(reply, "owners"));
    print_leases(cli_get(reply, "leases"));
    print_owed(cli_get_u64(reply, "owed_bytes"));
    return CLI_OK;
}

static int run_stat(const struct cli_command *self, int argc, char **argv)
{
    static const struct cli_option options[] = {{"get", true, set_get}, {NULL, false, NULL}};
    const char *field = NULL;
    struct cli_args args;
    struct cli_disk disk;
    struct json_object *reply;
    int sock;

    int rc = cli_parse(self, argc, argv, options, &field, &args);
    if (rc == CLI_GO)
        rc = cli_disk_argument(self, &args);
    if (rc == CLI_GO)
        rc = cli_open(&args, &disk, &sock);
    if (rc != CLI_GO)
        return rc;
    rc = cli_request(sock, CLI_SOON, cli_op("stat"), &reply, NULL);
    close(sock);
    if (rc != CLI_GO)
        return rc;
    rc = cli_judge(self, reply);
    if (rc == CLI_GO)
        rc = report(reply, &disk, field, args.json);
    json_object_put(reply);
    return rc;
}

const struct cli_command cli_cmd_stat = {
    .name = "stat",
    .synopsis = "[NAME|--socket PATH] [--get FIELD] [--json]",
    .brief = "what a disk holds, and where its memory is",
    .help = "Figures are read while the disk works: each is true at some moment, not all at the\n"
            "same one.  \"System\" is what the system itself says that the disk's memory file\n"
            "holds, and of its pool of huge pages.\n"
            "\n"
            "  --get FIELD   only one of the figures, by its name in the JSON: zone.used_frames\n"
            "  --json        everything, for programs\n",
    .run = run_stat,
};
