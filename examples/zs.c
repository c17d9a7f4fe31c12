// SPDX-License-Identifier: Apache-2.0
/* Objects that can move: a zone of ordinary memory, a pool, a thousand texts in it, of
 * which most go again, and what compaction makes of the rest. */
#include <klotski/klotski.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXTS = 1000, KEPT = 10 };

static void must(int err, const char *what)
{
    if (err >= 0)
        return;
    fprintf(stderr, "%s: %s\n", what, kl_err_text(err));
    exit(1);
}

static uint64_t show(struct kl_zs *pool, const char *when)
{
    struct kl_zs_stats s = {.size = sizeof(s)};

    kl_zs_get_stats(pool, &s);
    printf("%-10s %4llu objects, %5llu bytes, in %3llu frames; %llu could go\n", when,
           (unsigned long long)s.objects, (unsigned long long)s.object_bytes,
           (unsigned long long)s.frames, (unsigned long long)s.freeable_frames);
    return s.frames;
}

/* In place: the object may cross frames, so it comes in runs. */
static size_t length_in_place(struct kl_zs *pool, kl_handle handle)
{
    struct kl_zs_pin pin;
    size_t at = 0, len;
    const char *run, *end = NULL;

    must(kl_zs_begin(pool, handle, &pin), "begin");
    while (!end && (run = kl_zs_run(&pin, at, &len)) != NULL) {
        end = memchr(run, '\0', len);
        at += end ? (size_t)(end - run) : len;
    }
    kl_zs_end(&pin); /* soon: a pin is in the way of whoever moves memory */
    return at;
}

int main(void)
{
    struct kl_linux_backing_config memory = {
        .size = sizeof(memory), .kind = KL_LINUX_MEMFD, .bytes = 16u << 20};
    struct kl_zone_config config = {.size = sizeof(config), .host = kl_linux_host()};
    struct kl_zs_config objects = {.size = sizeof(objects), .name = "texts", .limit_frames = 1024};
    struct kl_linux_backing *backing;
    struct kl_zone *zone;
    struct kl_zs *pool;
    kl_handle text[TEXTS];
    char buf[400];

    must(kl_linux_backing_create(&memory, &backing), "memory");
    config.backing = kl_linux_backing_get(backing);
    must(kl_zone_create(&config, &zone), "zone");
    must(kl_zs_create(zone, &objects, &pool), "pool");
    for (int i = 0; i < TEXTS; i++) {
        int n = snprintf(buf, sizeof(buf), "text %d%*s", i, i % 300, ".");

        must(kl_zs_malloc(pool, (size_t)n + 1, 0, &text[i]), "malloc");
        must(kl_zs_write(pool, text[i], 0, buf, (size_t)n + 1), "write");
    }
    uint64_t full = show(pool, "filled:");
    for (int i = 0; i < TEXTS; i++) {
        if (i % KEPT)
            must(kl_zs_free(pool, text[i]), "free");
    }
    show(pool, "sparse:");
    must((int)kl_zs_compact(pool, 0), "compact"); /* else how many frames went */
    uint64_t left = show(pool, "compacted:");
    for (int i = 0; i < TEXTS; i += KEPT) { /* the handles are as good as ever */
        size_t n = length_in_place(pool, text[i]);

        must(kl_zs_read(pool, text[i], 0, buf, n + 1), "read");
        if (atoi(buf + strlen("text ")) != i || strlen(buf) != n)
            return 1;
    }
    if (kl_zs_free(pool, text[1]) != -KL_ESTALE) /* was freed before */
        return 1;
    must(kl_zs_destroy(pool), "destroy");
    must(kl_zone_destroy(zone), "zone's end");
    kl_linux_backing_destroy(backing);
    return left < full / 4 ? 0 : 1;
}
