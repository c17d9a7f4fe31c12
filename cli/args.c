// SPDX-License-Identifier: Apache-2.0
/* args.c - the options of all subcommands, read in one way.
 *
 * --NAME VALUE and --NAME=VALUE; what is no option is left in order; "--" ends
 * the options and, with all that follows it, is kept for who wants it.
 */
#include "cli.h"

#include <stdarg.h>
#include <string.h>

int cli_usage(const struct cli_command *cmd, const char *format, ...)
{
    va_list ap;

    fprintf(stderr, "klotski %s: ", cmd->name);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fprintf(stderr, "\nusage: klotski %s %s\n", cmd->name, cmd->synopsis);
    return CLI_USAGE;
}

void cli_error(const char *format, ...)
{
    va_list ap;

    fputs("klotski: ", stderr);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
}

static int print_help(const struct cli_command *cmd)
{
    printf("usage: klotski %s %s\n\n%s", cmd->name, cmd->synopsis, cmd->help);
    return CLI_OK;
}

static int set_name(void *ctx, const char *value)
{
    struct cli_args *args = ctx;

    args->disk = value;
    return CLI_GO;
}

static int set_socket(void *ctx, const char *value)
{
    struct cli_args *args = ctx;

    args->socket = value;
    return CLI_GO;
}

static int set_json(void *ctx, const char *value)
{
    struct cli_args *args = ctx;

    (void)value;
    args->json = true;
    return CLI_GO;
}

static const struct cli_option common[] = {
    {"name", true, set_name},
    {"socket", true, set_socket},
    {"json", false, set_json},
    {NULL, false, NULL},
};

static const struct cli_option *find_option(const struct cli_option *options, const char *name,
                                            size_t len)
{
    for (; options != NULL && options->name != NULL; options++)
        if (strlen(options->name) == len && memcmp(options->name, name, len) == 0)
            return options;
    return NULL;
}

/* argv[i] is an option.  CLI_GO with *used more arguments consumed. */
static int one_option(const struct cli_command *cmd, const struct cli_option *options, void *ctx,
                      struct cli_args *args, char **argv, int *used)
{
    const char *name = argv[0] + 2;
    const char *value = strchr(name, '=');
    size_t len = value != NULL ? (size_t)(value - name) : strlen(name);
    const struct cli_option *option = find_option(options, name, len);
    void *target = ctx;

    if (option == NULL) {
        option = find_option(common, name, len);
        target = args;
    }
    if (option == NULL)
        return cli_usage(cmd, "unknown option %.*s", (int)len + 2, argv[0]);
    if (!option->takes_value) {
        if (value != NULL)
            return cli_usage(cmd, "--%s takes no value", option->name);
        return option->set(target, NULL);
    }
    if (value != NULL)
        return option->set(target, value + 1);
    if (argv[1] == NULL)
        return cli_usage(cmd, "--%s needs a value", option->name);
    *used = 1;
    return option->set(target, argv[1]);
}

int cli_parse(const struct cli_command *cmd, int argc, char **argv,
              const struct cli_option *options, void *ctx, struct cli_args *args)
{
    int kept = 1; /* argv[0] stays; what is no option moves down behind it */

    *args = (struct cli_args){.rest = argv + 1};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            while (i < argc)
                argv[kept++] = argv[i++];
            break;
        }
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return print_help(cmd);
        if (argv[i][0] != '-' || argv[i][1] == '\0') {
            argv[kept++] = argv[i];
            continue;
        }
        if (argv[i][1] != '-')
            return cli_usage(cmd, "unknown option %s", argv[i]);
        int used = 0;
        int rc = one_option(cmd, options, ctx, args, argv + i, &used);
        if (rc != CLI_GO)
            return rc;
        i += used;
    }
    args->nrest = kept - 1;
    argv[kept] = NULL; /* who executes the rest looks for it */
    if (args->disk != NULL && args->socket != NULL)
        return cli_usage(cmd, "--name or --socket, not both");
    return CLI_GO;
}

int cli_disk_argument(const struct cli_command *cmd, struct cli_args *args)
{
    if (args->nrest == 0)
        return CLI_GO;
    if (args->nrest > 1)
        return cli_usage(cmd, "one disk at a time, please");
    if (args->disk != NULL || args->socket != NULL)
        return cli_usage(cmd, "the disk is named twice");
    args->disk = args->rest[0];
    return CLI_GO;
}
