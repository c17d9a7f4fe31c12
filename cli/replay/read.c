// SPDX-License-Identifier: Apache-2.0
/* read.c - the lines of a trace: words, numbers, bounds (T1).  check.c looks at
 * what they mean.
 *
 * The file may be anybody's: no line, number or count in it is taken without a
 * bound, and memory is only asked for as lines come in.
 */
#include "check.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = 6 };

struct reader {
    FILE *in;
    struct replay_trace *trace;
    struct replay_error *error;
    struct replay_check check;
    uint32_t line;
    uint32_t room; /* of trace->ops */
    bool header;   /* has been read */
    bool end;      /* so has "end" */
};

static bool fail(struct reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool fail(struct reader *r, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    r->error->line = r->line;
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is, two lines above */
    vsnprintf(r->error->text, sizeof(r->error->text), format, ap);
    va_end(ap);
    return false;
}

/* ---- lines --------------------------------------------------------------- */

/* One line without its end and its comment.  1: there is one; 0: the end of the
 * file; -1: *error says why. */
static int read_line(struct reader *r, char line[REPLAY_MAX_LINE + 1])
{
    bool comment = false, good = true;
    unsigned n = 0;
    int c;

    r->line++;
    for (c = getc(r->in); good && c != EOF && c != '\n'; c = getc(r->in)) {
        comment |= c == '#';
        if (comment)
            continue;
        if (c != '\t' && (c < ' ' || c > '~'))
            good = fail(r, "a byte that is no text (0x%02x)", (unsigned)c);
        else if (n == REPLAY_MAX_LINE)
            good = fail(r, "more than %u characters", REPLAY_MAX_LINE);
        else
            line[n++] = (char)c;
    }
    line[n] = '\0';
    if (good && c == EOF && ferror(r->in))
        good = fail(r, "the file could not be read");
    return !good ? -1 : c != EOF || n > 0;
}

/* Cuts a line into words; how many there are, WORDS if there are more. */
static unsigned split(char *line, char *word[WORDS])
{
    unsigned n = 0;
    char *rest = NULL;

    for (char *w = strtok_r(line, " \t", &rest); w && n < WORDS; w = strtok_r(NULL, " \t", &rest))
        word[n++] = w;
    return n;
}

/* A decimal number without a sign, from min to max. */
static bool number(struct reader *r, const char *what, const char *text, uint32_t min, uint32_t max,
                   uint32_t *value)
{
    uint64_t v = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9' && v <= UINT32_MAX; at++)
        v = v * 10 + (uint64_t)(*at - '0');
    if (at == text || *at != '\0' || v < min || v > max)
        return fail(r, "%s: '%.40s' is not a number from %u to %u", what, text, min, max);
    *value = (uint32_t)v;
    return true;
}

/* ---- the header ----------------------------------------------------------- */

bool replay_shape_ok(const struct replay_shape *s, const char **why)
{
    uint64_t frames = (uint64_t)s->blocks << s->block_order;

    *why = NULL;
    if (s->frame_bytes < REPLAY_MIN_FRAME || s->frame_bytes > REPLAY_MAX_FRAME ||
        (s->frame_bytes & (s->frame_bytes - 1)) != 0)
        *why = "frames have 4096 to 2097152 bytes, a power of two";
    else if (frames > REPLAY_MAX_FRAMES)
        *why = "a zone of more than 16777216 frames";
    else if (frames * s->frame_bytes > REPLAY_MAX_BYTES)
        *why = "a zone of more than 1 TiB";
    return *why == NULL;
}

static bool setting(struct reader *r, char *word, const char *name, uint32_t min, uint32_t max,
                    uint32_t *value)
{
    size_t len = strlen(name);

    if (strncmp(word, name, len) != 0 || word[len] != '=')
        return fail(r, "'%s=' is expected, not '%.40s'", name, word);
    return number(r, name, word + len + 1, min, max, value);
}

static bool read_header(struct reader *r, char **word, unsigned n)
{
    struct replay_shape *s = &r->trace->shape;
    const char *why;
    uint32_t version;

    if (strcmp(word[0], "klotski-trace") != 0)
        return fail(r, "not a trace: it does not begin with 'klotski-trace'");
    if (n < 2 || !number(r, "version", word[1], REPLAY_VERSION, REPLAY_VERSION, &version))
        return n < 2 ? fail(r, "the version is missing") : false;
    if (n != 5)
        return fail(r, "a header is: klotski-trace 1 frame=BYTES block-order=N blocks=N");
    if (!setting(r, word[2], "frame", REPLAY_MIN_FRAME, REPLAY_MAX_FRAME, &s->frame_bytes) ||
        !setting(r, word[3], "block-order", 1, REPLAY_MAX_ORDER, &s->block_order) ||
        !setting(r, word[4], "blocks", 1, REPLAY_MAX_BLOCKS, &s->blocks))
        return false;
    if (!replay_shape_ok(s, &why))
        return fail(r, "%s", why);
    r->header = true;
    return true;
}

/* ---- operations ----------------------------------------------------------- */

static const struct {
    const char *name;
    unsigned words;
} known[] = {
#define REPLAY_ROW(name, words) {#name, words},
    REPLAY_OPS(REPLAY_ROW)
#undef REPLAY_ROW
};

const char *replay_name(unsigned what)
{
    return what < REPLAY_WHATS ? known[what].name : "?";
}

static bool read_id(struct reader *r, const char *word, struct replay_op *op)
{
    if (!number(r, "id", word, 0, REPLAY_MAX_ID, &op->id))
        return false;
    if (op->id >= r->trace->ids)
        r->trace->ids = op->id + 1;
    return true;
}

static bool read_alloc(struct reader *r, char **word, struct replay_op *op)
{
    uint32_t order;

    if (!read_id(r, word[1], op) ||
        !number(r, "order", word[2], 0, r->trace->shape.block_order, &order))
        return false;
    if (strcmp(word[3], "m") != 0 && strcmp(word[3], "u") != 0)
        return fail(r, "'%.40s' is neither m (movable) nor u (unmovable)", word[3]);
    op->order = (uint8_t)order;
    op->movable = word[3][0] == 'm';
    return true;
}

static bool read_contig(struct reader *r, char **word, struct replay_op *op)
{
    uint32_t frames = r->trace->shape.blocks << r->trace->shape.block_order, align;

    if (!read_id(r, word[1], op) || !number(r, "frames", word[2], 1, frames, &op->n) ||
        !number(r, "alignment", word[3], 1, frames, &align))
        return false;
    if ((align & (align - 1)) != 0)
        return fail(r, "alignment: %u is not a power of two", align);
    while (align >> op->order > 1)
        op->order++;
    return true;
}

static bool read_arguments(struct reader *r, char **word, struct replay_op *op)
{
    switch (op->what) {
    case REPLAY_alloc:
        return read_alloc(r, word, op);
    case REPLAY_contig:
        return read_contig(r, word, op);
    case REPLAY_give:
    case REPLAY_lend:
        return number(r, "blocks", word[1], 1, r->trace->shape.blocks, &op->n);
    case REPLAY_compact:
        return true;
    default:
        return read_id(r, word[1], op);
    }
}

static bool keep(struct reader *r, const struct replay_op *op)
{
    struct replay_trace *t = r->trace;

    if (t->n == REPLAY_MAX_OPS)
        return fail(r, "more than %u operations", REPLAY_MAX_OPS);
    if (t->n == r->room) {
        uint32_t room = r->room ? r->room * 2 : 1024;
        struct replay_op *ops = realloc(t->ops, room * sizeof(*ops));

        if (!ops)
            return fail(r, "no memory for this many operations");
        t->ops = ops;
        r->room = room;
    }
    t->ops[t->n++] = *op;
    return true;
}

static bool read_op(struct reader *r, char **word, unsigned n)
{
    struct replay_op op = {.line = r->line};
    const char *why;

    if (strcmp(word[0], "end") == 0 && n == 1) {
        r->end = true;
        return true;
    }
    while (op.what < REPLAY_WHATS && strcmp(word[0], known[op.what].name) != 0)
        op.what++;
    if (op.what == REPLAY_WHATS)
        return fail(r, "no operation '%.40s'", word[0]);
    if (n != known[op.what].words + 1)
        return fail(r, "'%s' is followed by %u words, not %s%u", word[0], known[op.what].words,
                    n == WORDS ? "over " : "", n - 1);
    if (!read_arguments(r, word, &op))
        return false;
    why = replay_check_op(&r->check, &op);
    if (why)
        return fail(r, "%s %u: %s", word[0],
                    op.what == REPLAY_give || op.what == REPLAY_lend ? op.n : op.id, why);
    return keep(r, &op);
}

/* ---- the file ------------------------------------------------------------- */

static bool read_all(struct reader *r)
{
    char line[REPLAY_MAX_LINE + 1];
    char *word[WORDS];
    int more;

    while ((more = read_line(r, line)) > 0) {
        unsigned n = split(line, word);

        if (n == 0)
            continue;
        if (r->end)
            return fail(r, "something follows the end");
        if (!(r->header ? read_op(r, word, n) : read_header(r, word, n)))
            return false;
        if (r->header && !r->check.blocks && !replay_check_begin(&r->check, &r->trace->shape))
            return fail(r, "no memory");
    }
    if (more < 0)
        return false;
    if (!r->header)
        return fail(r, "there is nothing in the file");
    return r->end || fail(r, "the file ends without 'end': it is not whole");
}

bool replay_read(FILE *in, struct replay_trace *trace, struct replay_error *error)
{
    struct reader r = {.in = in, .trace = trace, .error = error};
    bool good;

    *trace = (struct replay_trace){0};
    *error = (struct replay_error){0};
    good = read_all(&r);
    replay_check_end(&r.check);
    if (!good)
        replay_forget(trace);
    return good;
}

void replay_forget(struct replay_trace *trace)
{
    free(trace->ops);
    *trace = (struct replay_trace){0};
}
