// SPDX-License-Identifier: Apache-2.0
/* main.c - the `klotski` command: finds the subcommand and runs it. */
#include "cli.h"

#include <klotski/base.h>
#include <locale.h>
#include <string.h>

static const struct cli_command *const commands[] = {
    &cli_cmd_disk,    &cli_cmd_stop,    &cli_cmd_list,      &cli_cmd_stat,
    &cli_cmd_map,     &cli_cmd_who,     &cli_cmd_take,      &cli_cmd_give,
    &cli_cmd_compact, &cli_cmd_classes, &cli_cmd_migration, &cli_cmd_replay,
};
#define NCOMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_usage(FILE *out)
{
    fputs("usage: klotski COMMAND [ARGUMENTS]\n"
          "\n"
          "Lends idle huge pages to a compressed RAM disk, and gets them back whole.\n"
          "\n",
          out);
    for (size_t i = 0; i < NCOMMANDS; i++)
        fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->brief);
    fputs("\n"
          "klotski COMMAND --help says more.  --name NAME says which disk, or --socket PATH,\n"
          "the control socket of one that was not started by `klotski disk`.\n"
          "Exit status: 0 done, 1 failed, 2 wrong usage, 3 no such disk.\n",
          out);
}

static const struct cli_command *find_command(const char *name)
{
    for (size_t i = 0; i < NCOMMANDS; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("klotski %d.%d.%d\n", KL_VERSION_MAJOR, KL_VERSION_MINOR, KL_VERSION_PATCH);
        return CLI_OK;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_usage(stdout);
        return CLI_OK;
    }
    const struct cli_command *cmd = find_command(argv[1]);
    if (cmd == NULL) {
        cli_error("no command '%s'; klotski --help lists them", argv[1]);
        return CLI_USAGE;
    }
    return cmd->run(cmd, argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "");
    int rc = dispatch(argc, argv);
    if (cli_flush() != CLI_OK && rc == CLI_OK)
        rc = CLI_FAIL;
    return rc;
}
