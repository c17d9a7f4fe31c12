// SPDX-License-Identifier: Apache-2.0
/* main.c - nbdwork's options, and what all verbs use. */
#include "nbdwork.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char usage_text[] =
    "usage: nbdwork VERB URI [OPTIONS]\n"
    "  load      --from FILE|- --sums FILE [--block 32K] [--bytes N]\n"
    "            [--until-full PERCENT --control SOCKET]\n"
    "  permute   --sums FILE [--rounds N] [--seed N]   exchange blocks in pairs\n"
    "  trim      --sums FILE --percent P [--seed N]    random blocks\n"
    "  verify    --sums FILE\n"
    "  payload   --sums FILE [--compress zstd:3]       the data's size at best\n"
    "  randread  [--block 4K] [--bytes N] [--seconds S]\n"
    "  randwrite --from FILE [--block 4K] [--bytes N] [--seconds S]\n"
    "and: --depth N (16), --connections N (4), --quiet\n";

void complain(const char *format, ...)
{
    va_list ap;

    flockfile(stderr);
    fputs("nbdwork: ", stderr);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
    funlockfile(stderr);
}

uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

struct job job_of(const struct options *options, uint32_t block_bytes, void *ctx)
{
    return (struct job){
        .uri = options->uri,
        .block_bytes = block_bytes,
        .depth = options->depth,
        .conns = options->conns,
        .ctx = ctx,
    };
}

void progress(const struct options *options, const char *what, uint64_t bytes, bool last)
{
    static uint64_t shown; /* ns; callers hold the job's lock or are alone */
    bool terminal = isatty(STDERR_FILENO);
    uint64_t now = now_ns(), pause = terminal ? 200000000 : 3000000000;

    if (options->quiet || (!last && now - shown < pause))
        return;
    if (shown == 0 && !last && !terminal) { /* a log need not know of the first moment */
        shown = now;
        return;
    }
    shown = now;
    fprintf(stderr, "%s  %s %" PRIu64 " MiB%s", terminal ? "\r" : "", what, bytes >> 20,
            terminal && !last ? " " : "\n");
}

uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15)); /* splitmix64 */

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void shuffle(uint64_t *list, uint64_t n, uint64_t *state)
{
    for (uint64_t i = n; i > 1; i--) {
        uint64_t j = random_next(state) % i, old = list[i - 1];
        list[i - 1] = list[j];
        list[j] = old;
    }
}

uint64_t *live_blocks(const struct sums *sums, uint64_t *n)
{
    uint64_t *list = malloc((sums->blocks + 1) * sizeof(*list));

    *n = 0;
    if (list == NULL)
        complain("no memory for a list of blocks");
    for (uint64_t i = 0; list != NULL && i < sums->blocks; i++)
        if (sums->sum[i] != 0)
            list[(*n)++] = i;
    return list;
}

/* ---- options ------------------------------------------------------------ */

static const struct verb {
    const char *name;
    bool (*run)(const struct options *);
    bool needs_from, needs_sums;
    uint32_t block;
} verbs[] = {
    {"load", verb_load, true, true, 32768},
    {"permute", verb_permute, false, true, 0},
    {"trim", verb_trim, false, true, 0},
    {"verify", verb_verify, false, true, 0},
    {"payload", verb_payload, false, true, 0},
    {"randread", verb_randread, false, false, 4096},
    {"randwrite", verb_randwrite, true, false, 4096},
};

static int wrong(const char *what)
{
    complain("%s", what);
    fputs(usage_text, stderr);
    return 2;
}

/* A number with or without K, M or G. */
static bool number(const char *text, uint64_t max, uint64_t *value)
{
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    *value = strtoull(text, &end, 10);
    unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    if (shift != 0)
        end++;
    if (*end != '\0' || *value > max >> shift)
        return false;
    *value <<= shift;
    return true;
}

static bool set_number(struct options *options, int c, const char *text)
{
    uint64_t value;

    if (!number(text, c == 'N' || c == 'S' ? INT64_MAX : 1 << 20, &value))
        return false;
    switch (c) {
    case 'N':
        options->bytes = value;
        return true;
    case 'S':
        options->seed = value;
        return true;
    case 'b':
        options->block = (uint32_t)value;
        return value >= 512 && (value & (value - 1)) == 0;
    case 'u':
        options->until_full = (unsigned)value;
        return value >= 1 && value <= 100;
    case 'p':
        options->percent = (unsigned)value;
        return value <= 100;
    case 'r':
        options->rounds = (unsigned)value;
        return true;
    case 't':
        options->seconds = (unsigned)value;
        return value >= 1;
    case 'd':
        options->depth = (unsigned)value;
        return value >= 1 && value <= 1024;
    default:
        options->conns = (unsigned)value;
        return value >= 1;
    }
}

static bool set_option(struct options *options, int c, const char *text)
{
    switch (c) {
    case 'f':
        options->from = text;
        return true;
    case 's':
        options->sums = text;
        return true;
    case 'c':
        options->control = text;
        return true;
    case 'z':
        options->compress = text;
        return true;
    case 'q':
        options->quiet = true;
        return true;
    case '?':
        return false;
    default:
        return set_number(options, c, text);
    }
}

static const struct option long_options[] = {
    {"from", required_argument, NULL, 'f'},
    {"sums", required_argument, NULL, 's'},
    {"control", required_argument, NULL, 'c'},
    {"compress", required_argument, NULL, 'z'},
    {"bytes", required_argument, NULL, 'N'},
    {"block", required_argument, NULL, 'b'},
    {"seed", required_argument, NULL, 'S'},
    {"until-full", required_argument, NULL, 'u'},
    {"percent", required_argument, NULL, 'p'},
    {"rounds", required_argument, NULL, 'r'},
    {"seconds", required_argument, NULL, 't'},
    {"depth", required_argument, NULL, 'd'},
    {"connections", required_argument, NULL, 'n'},
    {"quiet", no_argument, NULL, 'q'},
    {NULL, 0, NULL, 0},
};

int main(int argc, char **argv)
{
    struct options options = {
        .compress = "zstd:3", .rounds = 1, .seconds = 3, .depth = 16, .conns = 4, .seed = 1};
    const struct verb *verb = NULL;
    int c;

    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        if (!set_option(&options, c, optarg))
            return wrong("not a possible option or value");
    if (argc - optind != 2)
        return wrong("a verb and a URI, please");
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (strcmp(verbs[i].name, argv[optind]) == 0)
            verb = &verbs[i];
    if (verb == NULL)
        return wrong("no such verb");
    options.uri = argv[optind + 1];
    if (options.block == 0)
        options.block = verb->block;
    if ((verb->needs_from && options.from == NULL) || (verb->needs_sums && options.sums == NULL))
        return wrong("--from or --sums is missing");
    if (options.until_full != 0 && options.control == NULL)
        return wrong("--until-full needs --control");
    return verb->run(&options) ? 0 : 1;
}
