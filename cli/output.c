// SPDX-License-Identifier: Apache-2.0
/* output.c - watches the standard output: what was done must not go unsaid because
 * nobody could be told in the ordinary way. */
#include "cli.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>

static char done[256];

void cli_done(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    vsnprintf(done, sizeof(done), format, ap);
    va_end(ap);
    signal(SIGPIPE, SIG_IGN); /* a reader who has gone is a failure like others */
}

int cli_flush(void)
{
    static bool failed;

    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return failed ? CLI_FAIL : CLI_OK;
    int err = errno;
    clearerr(stdout);
    if (failed)
        return CLI_FAIL;
    failed = true;
    if (done[0] != '\0')
        cli_error("%s, but it could not be printed: %s", done, strerror(err != 0 ? err : EIO));
    else
        cli_error("the output could not be written: %s", strerror(err != 0 ? err : EIO));
    return CLI_FAIL;
}
