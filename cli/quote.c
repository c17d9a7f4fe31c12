// SPDX-License-Identifier: Apache-2.0
/* quote.c - text that a shell, or who reads a URI, takes for what was meant. */
#include "cli.h"

#include <ctype.h>
#include <string.h>

static bool harmless(const char *text)
{
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++)
        if (!isalnum((unsigned char)*text) && strchr("_-./,:@%+", *text) == NULL)
            return false;
    return true;
}

const char *cli_quote(const char *text, char buf[CLI_QUOTED_MAX])
{
    char *out = buf;

    if (harmless(text)) {
        memcpy(buf, text, strlen(text) + 1);
        return buf;
    }
    *out++ = '\'';
    for (; *text != '\0'; text++) {
        if (*text == '\'') { /* ends the quotation, says one, begins another */
            *out++ = '\'';
            *out++ = '\\';
            *out++ = '\'';
        }
        *out++ = *text;
    }
    *out++ = '\'';
    *out = '\0';
    return buf;
}

const char *cli_uri(const char *path, char buf[CLI_URI_MAX])
{
    static const char hex[] = "0123456789ABCDEF";
    static const char start[] = "nbd+unix:///?socket=";
    char *out = buf + sizeof(start) - 1;

    memcpy(buf, start, sizeof(start) - 1);
    for (; *path != '\0'; path++) {
        unsigned char byte = (unsigned char)*path;
        if (byte < 128 && (isalnum(byte) || strchr("_-./~", byte) != NULL)) {
            *out++ = (char)byte;
        } else {
            *out++ = '%';
            *out++ = hex[byte >> 4];
            *out++ = hex[byte & 15];
        }
    }
    *out = '\0';
    return buf;
}
