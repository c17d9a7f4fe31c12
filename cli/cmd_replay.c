// SPDX-License-Identifier: Apache-2.0
/* cmd_replay.c - `klotski replay`: runs a trace of allocations on a zone of this
 * process, or writes one.  Needs no disk. */
#include "cli.h"
#include "replay/generate.h"
#include "replay_print.h"

#include <errno.h>
#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum movability { ON, OFF, BOTH };

struct replay_options {
    enum movability movability;
    bool oracle;
    enum replay_memory memory;
    uint64_t seed;
    uint64_t blocks; /* 0: as the kind says */
    const char *generate;
    bool running; /* an option that only a run has */
};

/* ---- options -------------------------------------------------------------- */

static int set_movability(void *ctx, const char *value)
{
    static const char *const words[] = {"on", "off", "both"};
    struct replay_options *o = ctx;

    o->running = true;
    for (unsigned i = 0; i <= BOTH; i++) {
        o->movability = (enum movability)i;
        if (strcmp(value, words[i]) == 0)
            return CLI_GO;
    }
    return cli_usage(&cli_cmd_replay, "--movability is on, off or both, not %s", value);
}

static int set_backing(void *ctx, const char *value)
{
    struct replay_options *o = ctx;

    o->running = true;
    o->memory = strcmp(value, "none") == 0 ? REPLAY_OWN : REPLAY_MEMFD;
    if (o->memory == REPLAY_OWN || strcmp(value, "memfd") == 0)
        return CLI_GO;
    return cli_usage(&cli_cmd_replay, "--backing is memfd or none, not %s", value);
}

static int set_oracle(void *ctx, const char *value)
{
    struct replay_options *o = ctx;

    (void)value;
    o->running = o->oracle = true;
    return CLI_GO;
}

static int set_seed(void *ctx, const char *value)
{
    if (cli_parse_number(value, 0, UINT32_MAX, &((struct replay_options *)ctx)->seed))
        return CLI_GO;
    return cli_usage(&cli_cmd_replay, "--seed is 0 to 4294967295, not %s", value);
}

static int set_replay_blocks(void *ctx, const char *value)
{
    if (cli_parse_number(value, REPLAY_MIN_GENERATED, 4096,
                         &((struct replay_options *)ctx)->blocks))
        return CLI_GO;
    return cli_usage(&cli_cmd_replay, "--blocks is %d to 4096, not %s", REPLAY_MIN_GENERATED,
                     value);
}

static int set_generate(void *ctx, const char *value)
{
    struct replay_options *o = ctx;

    o->generate = value;
    if (replay_find_kind(value))
        return CLI_GO;
    return cli_usage(&cli_cmd_replay, "no kind of trace '%s'; --help lists them", value);
}

static const struct cli_option options[] = {
    {"movability", true, set_movability},
    {"backing", true, set_backing},
    {"oracle", false, set_oracle},
    {"seed", true, set_seed},
    {"blocks", true, set_replay_blocks},
    {"generate", true, set_generate},
    {NULL, false, NULL},
};

/* What does not go together. */
static int check_options(const struct replay_options *o, const struct cli_args *args)
{
    if (args->disk || args->socket)
        return cli_usage(&cli_cmd_replay, "no disk has a part in this");
    if (o->generate && (args->nrest > 0 || o->running || args->json))
        return cli_usage(&cli_cmd_replay, "--generate goes with --seed and --blocks only");
    if (!o->generate && o->blocks)
        return cli_usage(&cli_cmd_replay, "--blocks goes with --generate");
    if (!o->generate && args->nrest != 1)
        return cli_usage(&cli_cmd_replay, "which trace?");
    return CLI_GO;
}

/* ---- the picture ---------------------------------------------------------- */

static void keep_blocks(void *ctx, struct kl_zone *zone)
{
    struct replay_column *column = ctx;
    uint32_t n = kl_zone_blocks(zone);

    column->blocks = calloc(n, sizeof(*column->blocks));
    for (uint32_t i = 0; column->blocks && i < n; i++) {
        struct kl_block_info info;

        kl_zone_block_info(zone, (kl_block){i}, &info);
        column->blocks[i] = (struct paint_block){info.free,    info.used,   info.stuck,
                                                 info.present, info.fenced, info.cma};
    }
}

static void draw(const struct replay_column *column, unsigned n)
{
    const char *no_colour = getenv("NO_COLOR");
    struct paint_style style = {.colour = no_colour == NULL || no_colour[0] == '\0',
                                .ascii = strcmp(nl_langinfo(CODESET), "UTF-8") != 0,
                                .width = 80};
    struct winsize size;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20)
        style.width = size.ws_col;
    for (unsigned i = 0; i < n && column[i].blocks; i++) {
        printf("\nthe blocks at the end, movability %s\n", column[i].migration ? "on" : "off");
        paint_blocks(stdout, &style, column[i].blocks, column[i].result.blocks);
    }
    paint_blocks_legend(stdout, &style, column[0].result.blocks, false);
}

/* ---- running -------------------------------------------------------------- */

static int read_file(const char *name, struct replay_trace *trace)
{
    bool standard = strcmp(name, "-") == 0;
    FILE *in = standard ? stdin : fopen(name, "r");
    struct replay_error error;
    bool good;

    if (!in) {
        cli_error("%s: %s", name, strerror(errno));
        return CLI_FAIL;
    }
    good = replay_read(in, trace, &error);
    if (!standard)
        fclose(in);
    if (good)
        return CLI_GO;
    cli_error("%s:%u: %s", standard ? "standard input" : name, error.line, error.text);
    return CLI_FAIL;
}

/* Linux hands out more memory than there is, and then kills. */
static int enough_memory(const struct replay_trace *trace)
{
    const struct replay_shape *s = &trace->shape;
    uint64_t bytes = ((uint64_t)s->blocks << s->block_order) * s->frame_bytes;
    int64_t available = kl_linux_memory_available();
    char wants[CLI_TEXT], has[CLI_TEXT];

    if (available < 0 || bytes <= (uint64_t)available)
        return CLI_GO;
    cli_error("the trace wants a zone of %s, and the system has %s left", cli_bytes(bytes, wants),
              cli_bytes((uint64_t)available, has));
    return CLI_FAIL;
}

static int run_column(const struct replay_trace *trace, const struct replay_options *o,
                      struct replay_column *column)
{
    struct replay_config config = {.migration = column->migration,
                                   .oracle = o->oracle,
                                   .memory = o->memory,
                                   .seed = (uint32_t)o->seed,
                                   .at_end = keep_blocks,
                                   .ctx = column};
    int err = replay_run(trace, &config, &column->result);

    if (!err)
        return CLI_GO;
    cli_error("the zone: %s (%s)", kl_err_text(err), kl_err_name(err));
    return CLI_FAIL;
}

static int judge(const struct replay_column *column)
{
    const struct replay_result *r = &column->result;

    if (r->broken)
        cli_error("a broken invariant: %s", r->broken);
    if (r->wrong > 0)
        cli_error("%ju units did not keep their contents", (uintmax_t)r->wrong);
    if (replay_success_when_feasible(r) < 1)
        cli_error("something failed that was feasible (movability %s)",
                  column->migration ? "on" : "off");
    return replay_good(r) ? CLI_OK : CLI_FAIL;
}

static int run_columns(const struct replay_trace *trace, const struct replay_options *o, bool json)
{
    struct replay_column column[2] = {
        {.migration = o->movability != OFF, .oracle = o->oracle},
        {.migration = false, .oracle = o->oracle},
    };
    unsigned n = o->movability == BOTH ? 2 : 1;
    int rc = enough_memory(trace);

    for (unsigned i = 0; i < n && rc == CLI_GO; i++)
        rc = run_column(trace, o, &column[i]);
    if (rc == CLI_GO && json)
        replay_print_json(trace, column, n);
    if (rc == CLI_GO && !json) {
        replay_print_table(trace, column, n);
        for (unsigned i = 0; i < n; i++)
            replay_print_failures(&column[i]);
        if (isatty(STDOUT_FILENO))
            draw(column, n);
    }
    for (unsigned i = 0; i < n; i++) {
        int judged = rc == CLI_FAIL ? CLI_FAIL : judge(&column[i]);

        rc = rc == CLI_GO || judged == CLI_FAIL ? judged : rc;
        free(column[i].blocks);
    }
    return rc;
}

static int generate(const struct replay_options *o)
{
    const struct replay_kind *kind = replay_find_kind(o->generate);
    uint32_t blocks = o->blocks ? (uint32_t)o->blocks : kind->blocks;

    if (replay_generate(stdout, kind, blocks, (uint32_t)o->seed))
        return CLI_OK;
    cli_error("no memory for this trace");
    return CLI_FAIL;
}

static int run_replay(const struct cli_command *self, int argc, char **argv)
{
    struct replay_options o = {.seed = 1};
    struct replay_trace trace;
    struct cli_args args;
    int rc = cli_parse(self, argc, argv, options, &o, &args);

    if (rc == CLI_GO)
        rc = check_options(&o, &args);
    if (rc != CLI_GO)
        return rc;
    if (o.generate)
        return generate(&o);
    rc = read_file(args.rest[0], &trace);
    if (rc != CLI_GO)
        return rc;
    rc = run_columns(&trace, &o, args.json);
    replay_forget(&trace);
    return rc;
}

const struct cli_command cli_cmd_replay = {
    .name = "replay",
    .synopsis = "FILE [--movability on|off|both] [--oracle] [--backing memfd|none] [--seed N]\n"
                "                      [--json]\n"
                "       klotski replay --generate KIND [--blocks N] [--seed N]",
    .brief = "run a trace of allocations on a zone of its own, or write one",
    .help =
        "Runs the allocations, frees, pins, contiguous requests and give-backs of FILE (-: the\n"
        "standard input) and says how many succeeded, what had to move for it, and who was in\n"
        "the way of the first that failed.  Nothing but this process's own memory is used.\n"
        "\n"
        "  --movability both  once with frames that may move and once without, side by side\n"
        "  --oracle           look at each contiguous request and give-back whether it is\n"
        "                     possible at all; fail if a possible one failed\n"
        "  --backing none     memory that is always there, instead of a memory file\n"
        "  --seed N           of the contents that are written and looked at again\n"
        "  --generate KIND    write a trace, modelled on programs, to the standard output:\n"
        "                     build      compilers: bursts of frames, few of which survive\n"
        "                     kv         a key-value store whose values change their sizes\n"
        "                     netcache   a full page cache and network buffers of order 3\n"
        "                     video      a machine in use that wants 64 MiB now and then\n"
        "                     inference  caches and workspaces of an inference server\n"
        "  --blocks N         of the zone of the written trace\n"
        "\n"
        "Exit status: 0, 1 if the file is no trace, contents or recounts are wrong, or with\n"
        "--oracle something possible failed.\n",
    .run = run_replay,
};
