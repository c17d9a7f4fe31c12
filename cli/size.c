// SPDX-License-Identifier: Apache-2.0
/* size.c - reads amounts as users write them, and prints them for reading. */
#include "cli.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

static const char units[] = "KMGTPE";

/* What follows the digits: nothing, "B", or a unit with or without "iB" or "B". */
static bool unit_shift(const char *text, unsigned *shift)
{
    *shift = 0;
    if (*text == '\0' || strcmp(text, "B") == 0)
        return true;
    const char *unit = strchr(units, toupper((unsigned char)*text));
    if (unit == NULL)
        return false;
    *shift = 10 * (unsigned)(unit - units + 1);
    text++;
    return *text == '\0' || strcmp(text, "iB") == 0 || strcmp(text, "B") == 0;
}

/* Digits at the start of the text; *end is what follows them. */
static bool read_digits(const char *text, const char **end, uint64_t *value)
{
    if (!isdigit((unsigned char)*text))
        return false;
    *value = 0;
    for (; isdigit((unsigned char)*text); text++) {
        unsigned digit = (unsigned)(*text - '0');
        if (*value > (UINT64_MAX - digit) / 10)
            return false;
        *value = *value * 10 + digit;
    }
    *end = text;
    return true;
}

bool cli_parse_size(const char *text, uint64_t *bytes)
{
    const char *end;
    uint64_t value;
    unsigned shift;

    if (!read_digits(text, &end, &value) || !unit_shift(end, &shift))
        return false;
    if (value > ((uint64_t)INT64_MAX >> shift))
        return false;
    *bytes = value << shift;
    return true;
}

bool cli_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
    const char *end;

    return read_digits(text, &end, value) && *end == '\0' && *value >= min && *value <= max;
}

const char *cli_bytes(uint64_t bytes, char buf[CLI_TEXT])
{
    unsigned unit = 0; /* 0: bytes, 1: KiB ... */
    double value = (double)bytes;

    while (value >= 1024 && unit < strlen(units)) {
        value /= 1024;
        unit++;
    }
    if (unit == 0) {
        snprintf(buf, CLI_TEXT, "%" PRIu64 " B", bytes);
        return buf;
    }
    int decimals = value >= 100 ? 0 : value >= 10 ? 1 : 2;
    if ((bytes & ((UINT64_C(1) << (10 * unit)) - 1)) == 0)
        decimals = 0;
    snprintf(buf, CLI_TEXT, "%.*f %ciB", decimals, value, units[unit - 1]);
    return buf;
}

const char *cli_count(uint64_t count, char buf[CLI_TEXT])
{
    char digits[24];
    int n = snprintf(digits, sizeof(digits), "%" PRIu64, count);
    char *out = buf;

    for (int i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0)
            *out++ = ',';
        *out++ = digits[i];
    }
    *out = '\0';
    return buf;
}

const char *cli_duration(uint64_t ns, char buf[CLI_TEXT])
{
    if (ns < 10000)
        snprintf(buf, CLI_TEXT, "%" PRIu64 " ns", ns);
    else if (ns < 10000000)
        snprintf(buf, CLI_TEXT, "%.1f us", (double)ns / 1e3);
    else if (ns < UINT64_C(10000000000))
        snprintf(buf, CLI_TEXT, "%.1f ms", (double)ns / 1e6);
    else
        snprintf(buf, CLI_TEXT, "%.1f s", (double)ns / 1e9);
    return buf;
}

unsigned cli_percent(uint64_t part, uint64_t whole)
{
    if (part == 0 || whole == 0)
        return 0;
    unsigned percent = (unsigned)((double)part * 100.0 / (double)whole);
    return percent == 0 ? 1 : percent;
}
