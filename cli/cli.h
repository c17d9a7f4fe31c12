// SPDX-License-Identifier: Apache-2.0
/* cli.h - what the files of the `klotski` command share.
 *
 * One file a subcommand (cmd_*.c); args.c reads options, disk.c finds disks,
 * stale.c clears up after them, client.c speaks the control protocol, reply.c
 * looks into replies, size.c reads and prints amounts, quote.c makes text safe for
 * shells and URIs, output.c watches the standard output, paint.c draws for
 * terminals, svg.c and picture.c for files.  The program has one thread.  Errors are
 * printed where they are understood, once, and travel upwards as exit codes.
 */
#ifndef CLI_H
#define CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct json_object;

enum cli_exit {
    CLI_OK = 0,
    CLI_FAIL = 1,
    CLI_USAGE = 2,
    CLI_NO_DISK = 3,
    CLI_GO = -1, /* not an exit: go on */
};

struct cli_command {
    const char *name;
    const char *synopsis; /* what follows the name */
    const char *brief;    /* one line for the list */
    const char *help;     /* the rest of --help */
    int (*run)(const struct cli_command *self, int argc, char **argv);
};

extern const struct cli_command cli_cmd_disk, cli_cmd_stat, cli_cmd_map, cli_cmd_compact,
    cli_cmd_take, cli_cmd_give, cli_cmd_migration, cli_cmd_classes, cli_cmd_stop, cli_cmd_who,
    cli_cmd_list, cli_cmd_replay;

/* ---- messages ---------------------------------------------------------- */

/* "klotski: ..." on stderr. */
void cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- the standard output (output.c) ------------------------------------ */

/* Says what has been done, in case that the standard output does not take the
 * report of it: "taken as lease 3".  The last one counts. */
void cli_done(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Writes out what was printed.  CLI_OK, or CLI_FAIL, at first after a message, if
 * something of it was lost, now or before. */
int cli_flush(void);

/* ---- options (args.c) -------------------------------------------------- */

/* One option of a subcommand: --NAME VALUE, or --NAME if it takes none. */
struct cli_option {
    const char *name;
    bool takes_value;
    /* NULL value when it takes none.  CLI_GO, or an exit code after a message. */
    int (*set)(void *ctx, const char *value);
};

struct cli_args {
    const char *disk;   /* --name, or NULL */
    const char *socket; /* --socket, or NULL; not both */
    bool json;
    char **rest; /* what is no option */
    int nrest;
};

/* Reads the common options (--name, --socket, --json, --help) and those in `options` (ends
 * with a NULL name; may be NULL) into args and ctx.  CLI_GO, or an exit code. */
int cli_parse(const struct cli_command *cmd, int argc, char **argv,
              const struct cli_option *options, void *ctx, struct cli_args *args);

/* "klotski CMD: ..." and its usage; returns CLI_USAGE. */
int cli_usage(const struct cli_command *cmd, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Takes the disk's name from the only argument, if there is one. */
int cli_disk_argument(const struct cli_command *cmd, struct cli_args *args);

/* ---- amounts (size.c) -------------------------------------------------- */

/* "4096", "32K", "128M", "128MiB", "2G": powers of 1024.  false: not a size, or
 * more than INT64_MAX bytes. */
bool cli_parse_size(const char *text, uint64_t *bytes);

/* A decimal number from min to max, nothing else in the text. */
bool cli_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *value);

#define CLI_TEXT 32
/* "128 MiB", "1.43 GiB", "512 B".  Returns buf. */
const char *cli_bytes(uint64_t bytes, char buf[CLI_TEXT]);
/* "1,234,567".  Returns buf. */
const char *cli_count(uint64_t count, char buf[CLI_TEXT]);
/* "41.2 ms".  Returns buf. */
const char *cli_duration(uint64_t ns, char buf[CLI_TEXT]);
/* Per cent of a whole, rounded down, but 1 when part is not zero. */
unsigned cli_percent(uint64_t part, uint64_t whole);

/* ---- text for shells and URIs (quote.c) -------------------------------- */

#define CLI_PATH_MAX   108                    /* sun_path */
#define CLI_QUOTED_MAX (4 * CLI_PATH_MAX + 3) /* every byte a quotation mark */
#define CLI_URI_MAX    (3 * CLI_PATH_MAX + 32)

/* One word for a shell: as it is, or within quotation marks.  text is shorter than
 * CLI_PATH_MAX.  Returns buf. */
const char *cli_quote(const char *text, char buf[CLI_QUOTED_MAX]);

/* nbd+unix:///?socket=PATH, percent-encoded, so that nothing in it is a quotation
 * mark.  Returns buf. */
const char *cli_uri(const char *path, char buf[CLI_URI_MAX]);

/* ---- disks (disk.c) ---------------------------------------------------- */

#define CLI_NAME_MAX 40

struct cli_disk {
    char name[CLI_PATH_MAX]; /* or the path of its control socket */
    char dir[CLI_PATH_MAX];  /* this and what follows but control: "" with --socket */
    char control[CLI_PATH_MAX];
    char nbd[CLI_PATH_MAX];
    char pidfile[CLI_PATH_MAX];
};

/* Letters, digits, '_', '-' and '.', the first one no '-' or '.'. */
bool cli_name_valid(const char *name);

/* The folder of the sockets; made when `create`.  Refused when it belongs to
 * somebody else, is a link, or others may write to it.  CLI_GO or an exit code;
 * CLI_NO_DISK without a message when it is not there and not to be made. */
int cli_rundir(char dir[CLI_PATH_MAX], bool create);

/* The paths of a disk of that name, which need not run. */
int cli_disk_paths(const char *name, bool create, struct cli_disk *disk);

/* The disk that the options name (which need not run), or the only one that runs
 * when they name none.  CLI_GO, or an exit code after a message. */
int cli_disk_find(const struct cli_args *args, struct cli_disk *disk);

/* Names of the disks that run, in order; *names is one allocation.  `clean`: what
 * is left of others is removed. */
int cli_disk_list(bool clean, char (**names)[CLI_NAME_MAX + 1], size_t *n);

/* ---- what disks leave (stale.c) ---------------------------------------- */

/* Nobody else starts or clears up a disk in this folder until the descriptor that
 * this returns is closed.  -1: another one has it and `wait` is false, or after a
 * message. */
int cli_lock(const char *dir, bool wait);

/* The process that serves the disk, by its pid file: 0 when there is none, or the
 * number means another process by now. */
uint64_t cli_disk_pid(const struct cli_disk *disk);

/* Whether that process has been started with this control socket. */
bool cli_serves(uint64_t pid, const struct cli_disk *disk);

/* Removes the disk's files if nobody answers at them and its process is gone.
 * true: there were some.  `wait`: for the lock, else nothing is done without. */
bool cli_disk_clean(const struct cli_disk *disk, bool wait);

/* Removes the files of a disk that is known to be no more. */
void cli_disk_remove(const struct cli_disk *disk);

/* ---- the control protocol (client.c) ----------------------------------- */

#define CLI_PATIENCE_S 5 /* what a disk that works is asked is answered much sooner */

enum cli_wait {
    CLI_SOON, /* for CLI_PATIENCE_S */
    CLI_LONG, /* if the disk answers at all: as long as it lives, but not silently */
};

/* Connects, within CLI_PATIENCE_S: the socket, or as kli_wire_connect, or -KL_EAGAIN
 * when somebody listens who does not accept. */
int cli_connect(const char *path);

/* A connection to the disk that the options name, or to the only one: CLI_GO and
 * *sock, or an exit code after a message. */
int cli_open(const struct cli_args *args, struct cli_disk *disk, int *sock);

/* Sends `request` (its reference is taken over) and reads the reply, which the
 * caller puts.  fd: where a descriptor sent along goes (-1 if none came); NULL
 * when none is expected.  0, or without a message: -KL_EAGAIN: no answer in time;
 * -KL_ECANCELED: the disk closed the connection; another negative enum kl_err.  A
 * reply that says "ok": false is a reply. */
int cli_call(int sock, enum cli_wait wait, struct json_object *request, struct json_object **reply,
             int *fd);

/* The same, with messages: CLI_GO, or CLI_FAIL after one. */
int cli_request(int sock, enum cli_wait wait, struct json_object *request,
                struct json_object **reply, int *fd);

/* What most subcommands do: one request on a connection of its own.  With --json
 * the reply is printed as it is.  CLI_GO and *reply (the caller puts it) when it
 * is ok; else an exit code after a message. */
int cli_ask(const struct cli_command *cmd, const struct cli_args *args, enum cli_wait wait,
            struct json_object *request, struct json_object **reply);

/* If the reply is not ok: prints why, and who was in the way; CLI_FAIL.  Else
 * CLI_GO. */
int cli_judge(const struct cli_command *cmd, struct json_object *reply);

/* {"op": NAME} */
struct json_object *cli_op(const char *name);

/* Prints a reply for other programs, on one line. */
void cli_print_json(struct json_object *reply);

/* ---- looking into replies (reply.c) ------------------------------------ */

/* Absent fields read as 0, "" and NULL. */
struct json_object *cli_get(struct json_object *object, const char *name);
uint64_t cli_get_u64(struct json_object *object, const char *name);
int64_t cli_get_i64(struct json_object *object, const char *name);
bool cli_get_bool(struct json_object *object, const char *name);
const char *cli_get_str(struct json_object *object, const char *name);
/* 0 when it is no array. */
size_t cli_length(struct json_object *list);

/* A line on one that is in the way: "frame 7 in block 0, which belongs to ...". */
void cli_print_obstacle(FILE *out, const char *lead, struct json_object *obstacle);

#endif
