// SPDX-License-Identifier: Apache-2.0
/* Names and sentences of the errors, from the one list in klotski/base.h. */
#include "klotski/base.h"

static const struct {
    int value;
    const char *name;
    const char *text;
} errors[] = {{KL_OK, "OK", "no error"},
#define ROW(name, value, text) {value, #name, text},
              KL_ERRORS(ROW)
#undef ROW
};

static int find(int err)
{
    int value = err < 0 ? -err : err;

    for (int i = 0; i < (int)(sizeof(errors) / sizeof(errors[0])); i++) {
        if (errors[i].value == value)
            return i;
    }
    return -1;
}

const char *kl_err_name(int err)
{
    int i = find(err);

    return i < 0 ? "UNKNOWN" : errors[i].name;
}

const char *kl_err_text(int err)
{
    int i = find(err);

    return i < 0 ? "an unknown error" : errors[i].text;
}
