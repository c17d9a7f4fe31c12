// SPDX-License-Identifier: Apache-2.0
/* report.c - replies that look and change nothing: stat, classes, map. */
#include "internal.h"

#include <stdlib.h>
#include <unistd.h>

/* A member of a statistics struct by its name in the header. */
#define ADD(member) kli_reply_add(object, #member, stats.member)

static struct json_object *marks_of(struct kl_zone *zone)
{
    struct json_object *object = json_object_new_object();
    struct kl_zone_marks stats = {.size = sizeof(stats)};

    kl_zone_get_marks(zone, &stats);
    ADD(reserve);
    ADD(low);
    ADD(high);
    ADD(waste_start);
    ADD(waste_stop);
    ADD(waste_blocks);
    ADD(spare_blocks);
    return object;
}

/* Names of what background work is wanted for. */
static struct json_object *wanted_of(uint32_t wanted)
{
    static const struct {
        enum kl_zone_wanted bit;
        const char *name;
    } names[] = {{KL_WANTED_FRAMES, "frames"}, {KL_WANTED_BLOCKS, "blocks"},
                 {KL_WANTED_BYTES, "bytes"},   {KL_WANTED_WORK, "work"},
                 {KL_WANTED_SPARE, "spare"},   {KL_WANTED_PRESSURE, "pressure"}};
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (wanted & names[i].bit)
            json_object_array_add(list, json_object_new_string(names[i].name));
    return list;
}

static struct json_object *zone_stats(struct kl_zone *zone)
{
    struct json_object *object = json_object_new_object();
    struct kl_zone_stats stats = {.size = sizeof(stats)};

    kl_zone_get_stats(zone, &stats);
    ADD(frames);
    ADD(blocks);
    ADD(frame_bytes);
    ADD(present_blocks);
    ADD(size_blocks);
    ADD(given_blocks);
    ADD(free_frames);
    ADD(used_frames);
    ADD(stuck_frames);
    ADD(free_blocks);
    ADD(fenced_blocks);
    ADD(metadata_bytes);
    ADD(charged_bytes);
    ADD(scanned);
    ADD(isolated);
    ADD(migrated);
    ADD(failed);
    ADD(put_back);
    ADD(freed_isolated);
    ADD(stalls);
    ADD(blocks_given);
    ADD(blocks_populated);
    ADD(mixed);
    ADD(slow);
    ADD(compacted);
    ADD(refused);
    ADD(pressure_level);
    ADD(pressure_calls);
    ADD(pressure_pieces);
    ADD(pressure_bytes);
    json_object_object_add(object, "compact", kli_look_runs(&stats.compact));
    json_object_object_add(object, "contig", kli_look_runs(&stats.contig));
    json_object_object_add(object, "give_back", kli_look_runs(&stats.give_back));
    json_object_object_add(object, "marks", marks_of(zone));
    json_object_object_add(object, "wanted", wanted_of(stats.wanted));
    kli_look_free(object, zone);
    return object;
}

static struct json_object *zs_stats(struct kl_zs *pool)
{
    struct json_object *object = json_object_new_object();
    struct kl_zs_stats stats = {.size = sizeof(stats)};

    kl_zs_get_stats(pool, &stats);
    ADD(objects);
    ADD(object_bytes);
    ADD(frames);
    ADD(zspages);
    ADD(freeable_frames);
    ADD(metadata_bytes);
    ADD(objects_moved);
    ADD(frames_freed_by_compaction);
    ADD(frames_migrated);
    ADD(deferred);
    ADD(classes);
    ADD(huge_class_size);
    ADD(automatic_runs);
    ADD(learned);
    ADD(learned_saving_bytes);
    ADD(learned_moved_bytes);
    return object;
}

static struct json_object *store_stats(struct kl_store *store)
{
    struct json_object *object = json_object_new_object();
    struct kl_store_stats stats = {.size = sizeof(stats)};

    kl_store_get_stats(store, &stats);
    ADD(blocks);
    ADD(block_bytes);
    ADD(limit_bytes);
    ADD(compressed);
    ADD(raw);
    ADD(same);
    ADD(payload_bytes);
    ADD(frame_bytes);
    ADD(metadata_bytes);
    ADD(reads);
    ADD(writes);
    ADD(discards);
    ADD(refused);
    ADD(shared);
    ADD(written);
    ADD(ticks);
    ADD(peak_frame_bytes);
    ADD(partial_writes);
    ADD(recompressed_blocks);
    ADD(shared_objects);
    ADD(duplicates);
    ADD(recompressions);
    ADD(recompressions_in_vain);
    ADD(recompression_saved_bytes);
    return object;
}

static struct json_object *writeback_stats(struct kl_store *store)
{
    static const char *const states[] = {
        [KL_WRITEBACK_OFF] = "off",         [KL_WRITEBACK_OK] = "well",
        [KL_WRITEBACK_FULL] = "full",       [KL_WRITEBACK_FAILING] = "failing",
        [KL_WRITEBACK_STALLED] = "stalled", [KL_WRITEBACK_GONE] = "disconnected",
    };
    struct kl_writeback_stats stats = {.size = sizeof(stats)};
    struct json_object *object;

    kl_store_writeback_stats(store, &stats);
    if (stats.state == KL_WRITEBACK_OFF)
        return NULL;
    object = json_object_new_object();
    json_object_object_add(object, "state", json_object_new_string(states[stats.state]));
    json_object_object_add(object, "text", json_object_new_string(stats.text));
    ADD(target_bytes);
    ADD(used_bytes);
    ADD(retired_bytes);
    ADD(blocks);
    ADD(pending);
    ADD(written);
    ADD(written_bytes);
    ADD(read);
    ADD(read_back);
    ADD(failed_writes);
    ADD(failed_reads);
    ADD(lost);
    ADD(overwritten);
    ADD(waited);
    return object;
}

static struct json_object *owners(struct kl_zone *zone)
{
    struct json_object *list = json_object_new_array();

    for (uint16_t id = 1; id <= 255; id++) {
        struct kl_owner_stats stats = {.size = sizeof(stats)};
        struct json_object *object;

        if (kl_owner_get_stats(zone, (kl_owner_id){id}, &stats) != 0)
            continue;
        object = json_object_new_object();
        json_object_object_add(object, "name", json_object_new_string(stats.name));
        ADD(frames);
        ADD(movable);
        ADD(pinned);
        ADD(isolated);
        ADD(scanned);
        ADD(isolations);
        ADD(migrated);
        ADD(put_back);
        ADD(freed_isolated);
        ADD(failed);
        ADD(stalls);
        json_object_array_add(list, object);
    }
    return list;
}

/* Who has what. */
static struct json_object *budget(const struct kli_control_config *config)
{
    enum { ROWS = 255 };
    struct json_object *object = json_object_new_object(), *list = json_object_new_array();
    struct kl_budget_row *rows = calloc(ROWS, sizeof(*rows));
    struct kl_budget stats = {.size = sizeof(stats)};

    kl_zone_get_budget(config->zone, &stats, rows, rows ? ROWS : 0);
    ADD(frames);
    ADD(other_frames);
    ADD(free_frames);
    ADD(absent_frames);
    ADD(given_frames);
    ADD(withheld_frames);
    ADD(charged_bytes);
    ADD(zone_metadata_bytes);
    ADD(other_metadata_bytes);
    for (size_t i = 0; rows && i < stats.owners; i++) {
        struct json_object *row = json_object_new_object();

        json_object_object_add(row, "name", json_object_new_string(rows[i].name));
        kli_reply_add(row, "frames", rows[i].frames);
        kli_reply_add(row, "bytes", rows[i].frames * kl_zone_frame_bytes(config->zone));
        kli_reply_add(row, "movable", rows[i].movable);
        kli_reply_add(row, "pinned", rows[i].pinned);
        kli_reply_add(row, "idle", rows[i].idle);
        kli_reply_add(row, "soft", rows[i].soft);
        kli_reply_add(row, "hard", rows[i].hard);
        kli_reply_add(row, "refused", rows[i].refused);
        json_object_array_add(list, row);
    }
    free(rows);
    json_object_object_add(object, "rows", list);
    return object;
}

static struct json_object *areas(struct kl_zone *zone)
{
    struct json_object *list = json_object_new_array();
    struct kl_cma_stats stats = {.size = sizeof(stats)};

    for (uint32_t i = 0; kl_zone_cma_stats(zone, i, &stats) == 0; i++) {
        struct json_object *object = json_object_new_object();

        json_object_object_add(object, "name", json_object_new_string(stats.name));
        kli_reply_add(object, "first", kl_pfn_nr(stats.base));
        ADD(frames);
        ADD(order_per_bit);
        ADD(allocated_frames);
        ADD(given_frames);
        ADD(kept_frames);
        ADD(available_frames);
        ADD(largest_frames);
        ADD(defer_bytes);
        ADD(defer_ns);
        ADD(allocs);
        ADD(failed);
        ADD(releases);
        ADD(refused);
        ADD(exact);
        ADD(partial);
        ADD(missed);
        ADD(returned_need);
        ADD(returned_window);
        ADD(returned_age);
        ADD(returned_cap);
        ADD(returned_shrinker);
        ADD(migrated);
        json_object_array_add(list, object);
    }
    return list;
}

static struct json_object *disk(const struct kli_control_config *config)
{
    struct json_object *object = json_object_new_object();
    static const char *const kinds[] = {[KL_LINUX_HUGETLB] = "hugetlb",
                                        [KL_LINUX_MEMFD] = "memfd",
                                        [KL_LINUX_HUGETLB_1G] = "hugetlb-1g"};
    const char *kind = kinds[kl_linux_backing_kind(config->backing)];

    kli_reply_add(object, "size", config->disk_bytes);
    kli_reply_add(object, "block", config->block_bytes);
    json_object_object_add(object, "compress", json_object_new_string(config->compress));
    json_object_object_add(object, "level", json_object_new_int(config->level));
    if (config->recompress) {
        json_object_object_add(object, "recompress", json_object_new_string(config->recompress));
        json_object_object_add(object, "recompress_level",
                               json_object_new_int(config->recompress_level));
    }
    kli_reply_add(object, "idle_seconds", config->idle);
    json_object_object_add(object, "dedup", json_object_new_boolean(config->dedup));
    json_object_object_add(object, "backing", json_object_new_string(kind));
    kli_reply_add(object, "pid", (uint64_t)getpid());
    return object;
}

static struct json_object *system_figures(const struct kl_linux_backing *backing)
{
    bool large = kl_linux_backing_kind(backing) == KL_LINUX_HUGETLB_1G;
    enum kl_linux_kind pool = large ? KL_LINUX_HUGETLB_1G : KL_LINUX_HUGETLB;
    struct json_object *object = json_object_new_object();

    kli_reply_add(object, "resident_bytes", kl_linux_backing_resident(backing));
    kli_reply_add(object, "hugepage_bytes", (uint64_t)(large ? 1 << 30 : 2 << 20));
    json_object_object_add(object, "hugepages_free",
                           json_object_new_int64(kl_linux_hugepages_free_of(pool, 0)));
    json_object_object_add(object, "hugepages_total",
                           json_object_new_int64(kl_linux_hugepages_total_of(pool, 0)));
    return object;
}

/* Which ways of hearing of pressure are at work, and what came of it. */
static struct json_object *pressure_figures(struct kl_linux_pressure *pressure)
{
    static const char *const levels[] = {"none", "idle", "cold"};
    static const struct {
        enum kl_linux_pressure_source bit;
        const char *name;
    } names[] = {{KL_LINUX_BY_PSI, "psi"},
                 {KL_LINUX_BY_CGROUP, "cgroup"},
                 {KL_LINUX_BY_EVENTS, "events"},
                 {KL_LINUX_BY_POLLING, "poll"}};
    struct json_object *object = json_object_new_object(), *list = json_object_new_array();
    struct kl_linux_pressure_stats stats = {.size = sizeof(stats)};

    kl_linux_pressure_get_stats(pressure, &stats);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (stats.sources & names[i].bit)
            json_object_array_add(list, json_object_new_string(names[i].name));
    json_object_object_add(object, "by", list);
    json_object_object_add(object, "level", json_object_new_string(levels[stats.level]));
    ADD(cgroup);
    ADD(window_ms);
    ADD(stall_ms);
    ADD(interval_ms);
    ADD(limit_bytes);
    ADD(room_bytes);
    ADD(stalls);
    ADD(events);
    ADD(looks);
    ADD(fired);
    ADD(returned_bytes);
    return object;
}

static struct json_object *leases(const struct kli_control *control)
{
    uint64_t block_bytes = kl_zone_block_bytes(control->config.zone);
    struct json_object *list = json_object_new_array();

    for (const struct kli_lease *lease = control->leases; lease; lease = lease->next) {
        struct json_object *object = json_object_new_object();

        kli_reply_add(object, "id", lease->id);
        kli_reply_add(object, "bytes", lease->blocks * block_bytes);
        json_object_object_add(object, "held", json_object_new_boolean(lease->fd >= 0));
        json_object_object_add(object, "from",
                               json_object_new_string(lease->from_area ? "area" : "zone"));
        json_object_array_add(list, object);
    }
    return list;
}

struct json_object *kli_report_stat(struct kli_control *control)
{
    const struct kli_control_config *config = &control->config;
    struct json_object *reply = kli_reply_ok(), *writeback;

    json_object_object_add(reply, "disk", disk(config));
    json_object_object_add(reply, "zone", zone_stats(config->zone));
    json_object_object_add(reply, "zs", zs_stats(kl_store_zs(config->store)));
    json_object_object_add(reply, "store", store_stats(config->store));
    writeback = writeback_stats(config->store);
    if (writeback)
        json_object_object_add(reply, "writeback", writeback);
    if (config->pressure)
        json_object_object_add(reply, "pressure", pressure_figures(config->pressure));
    json_object_object_add(reply, "budget", budget(config));
    json_object_object_add(reply, "owners", owners(config->zone));
    json_object_object_add(reply, "areas", areas(config->zone));
    json_object_object_add(reply, "system", system_figures(config->backing));
    json_object_object_add(reply, "leases", leases(control));
    kli_reply_add(reply, "owed_bytes", kli_lease_owed(control));
    return reply;
}

static struct json_object *one_class(const struct kl_zs_class_stats *row)
{
    const struct kl_zs_class_stats stats = *row;
    struct json_object *object = json_object_new_object();
    struct json_object *fullness = json_object_new_array();

    ADD(object_size);
    ADD(frames_per_zspage);
    ADD(objects_per_zspage);
    ADD(zspages);
    ADD(objects);
    ADD(frames);
    ADD(freeable_frames);
    ADD(retired);
    for (size_t i = 0; i < sizeof(stats.fullness) / sizeof(stats.fullness[0]); i++)
        json_object_array_add(fullness, json_object_new_uint64(stats.fullness[i]));
    json_object_object_add(object, "fullness", fullness);
    return object;
}

struct json_object *kli_report_classes(struct kli_control *control)
{
    struct kl_zs *pool = kl_store_zs(control->config.store);
    struct json_object *list = json_object_new_array();
    struct json_object *reply = kli_reply_ok();
    struct kl_zs_class_stats row = {.size = sizeof(row)};

    for (uint32_t i = 0; kl_zs_get_class_stats(pool, i, &row) == 0; i++)
        json_object_array_add(list, one_class(&row));
    json_object_object_add(reply, "classes", list);
    return reply;
}

static struct json_object *block_list(struct kl_zone *zone, uint32_t blocks)
{
    struct json_object *list = json_object_new_array();

    for (uint32_t i = 0; i < blocks; i++) {
        struct kl_block_info info = {0};
        struct json_object *object = json_object_new_object();

        kl_zone_block_info(zone, (kl_block){i}, &info);
        json_object_object_add(object, "present", json_object_new_boolean(info.present));
        kli_reply_add(object, "free", info.free);
        kli_reply_add(object, "used", info.used);
        kli_reply_add(object, "stuck", info.stuck);
        json_object_object_add(object, "fenced", json_object_new_boolean(info.fenced));
        json_object_object_add(object, "area", json_object_new_boolean(info.cma));
        json_object_array_add(list, object);
    }
    return list;
}

/* One digit a frame, enum kl_frame_kind; NULL when there is no memory. */
static struct json_object *frame_digits(struct kl_zone *zone, uint32_t frames)
{
    char *digits = malloc(frames);
    struct json_object *string = NULL;

    if (!digits)
        return NULL;
    if (kl_zone_map(zone, 0, frames, (uint8_t *)digits) == 0) {
        for (uint32_t i = 0; i < frames; i++)
            digits[i] = (char)('0' + digits[i]);
        string = json_object_new_string_len(digits, (int)frames);
    }
    free(digits);
    return string;
}

struct json_object *kli_report_map(struct kli_control *control, bool with_frames)
{
    enum { BLOCK_TEXT = 96 }; /* bytes that one block takes at most */
    struct kl_zone *zone = control->config.zone;
    uint32_t frames = kl_zone_frames(zone);
    uint32_t blocks = kl_zone_blocks(zone);
    struct json_object *digits = NULL;
    struct json_object *reply;

    if ((with_frames ? frames : 0) + (uint64_t)blocks * BLOCK_TEXT > KLI_WIRE_REPLY_MAX)
        return kli_reply_error(-KL_ENOTSUP, "the zone is too large for such a map in one reply");
    if (with_frames) {
        digits = frame_digits(zone, frames);
        if (!digits)
            return kli_reply_error(-KL_ENOMEM, NULL);
    }
    reply = kli_reply_ok();
    kli_reply_add(reply, "frames_per_block", frames / blocks);
    kli_reply_add(reply, "frame_bytes", kl_zone_frame_bytes(zone));
    json_object_object_add(reply, "blocks", block_list(zone, blocks));
    if (digits)
        json_object_object_add(reply, "frames", digits);
    return reply;
}
