// SPDX-License-Identifier: Apache-2.0
/* launch.h - starts nbdkit with the plugin and waits until the disk answers. */
#ifndef LAUNCH_H
#define LAUNCH_H

#include "cli.h"

#include <sys/types.h>

#define LAUNCH_MAX_ARGS 64

struct launch {
    const struct cli_disk *disk;
    bool foreground;
    char *settings[LAUNCH_MAX_ARGS]; /* key=value, for the plugin */
    unsigned nsettings;
    char **extra; /* further options of nbdkit, each one word */
    int nextra;

    pid_t child; /* filled in: nbdkit's first process, and its process group */
    int lives;   /* filled in: a pipe that nbdkit's processes hold the other end of */
};

/* Starts; CLI_GO when the control socket answers: *stat is what it says, the
 * caller puts it.  Else an exit code after a message, and nothing is left. */
int launch_start(struct launch *launch, struct json_object **stat);

/* Foreground: waits for the end, passing signals on, and cleans up.  An exit
 * code. */
int launch_wait(struct launch *launch);

#endif
