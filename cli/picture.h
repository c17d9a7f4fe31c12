// SPDX-License-Identifier: Apache-2.0
/* picture.h - a picture of a disk's zone as a file. */
#ifndef PICTURE_H
#define PICTURE_H

struct cli_command;
struct cli_disk;

/* Asks the disk at `sock` for its map, draws it, and writes it as SVG, as PNG, or both;
 * NULL: not so; "-": to the standard output.  PNG is made by the program rsvg-convert.
 * Nothing is written when one of them cannot be made.  An exit code, after a message if
 * it is not CLI_OK. */
int cli_picture(const struct cli_command *cmd, int sock, const struct cli_disk *disk,
                const char *svg, const char *png);

#endif
