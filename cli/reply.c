// SPDX-License-Identifier: Apache-2.0
/* reply.c - makes requests, and looks into replies, which may lack anything. */
#include "cli.h"

#include <inttypes.h>
#include <json-c/json.h>

struct json_object *cli_op(const char *name)
{
    struct json_object *request = json_object_new_object();

    json_object_object_add(request, "op", json_object_new_string(name));
    return request;
}

void cli_print_json(struct json_object *reply)
{
    puts(json_object_to_json_string_ext(reply,
                                        JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

struct json_object *cli_get(struct json_object *object, const char *name)
{
    struct json_object *value = NULL;

    if (object == NULL || !json_object_is_type(object, json_type_object))
        return NULL;
    json_object_object_get_ex(object, name, &value);
    return value;
}

uint64_t cli_get_u64(struct json_object *object, const char *name)
{
    return json_object_get_uint64(cli_get(object, name));
}

int64_t cli_get_i64(struct json_object *object, const char *name)
{
    return json_object_get_int64(cli_get(object, name));
}

bool cli_get_bool(struct json_object *object, const char *name)
{
    return json_object_get_boolean(cli_get(object, name));
}

const char *cli_get_str(struct json_object *object, const char *name)
{
    const char *text = json_object_get_string(cli_get(object, name));

    return text != NULL ? text : "";
}

size_t cli_length(struct json_object *list)
{
    return list != NULL && json_object_is_type(list, json_type_array)
               ? json_object_array_length(list)
               : 0;
}

void cli_print_obstacle(FILE *out, const char *lead, struct json_object *o)
{
    const char *text = cli_get_str(o, "text"), *why = cli_get_str(o, "why");
    char age[CLI_TEXT];

    fprintf(out, "  %s", lead);
    if (cli_get(o, "frame") != NULL)
        fprintf(out, "frame %" PRIu64 " in ", cli_get_u64(o, "frame"));
    fprintf(out, "block %" PRIu64, cli_get_u64(o, "block"));
    if (cli_get(o, "owner") != NULL)
        fprintf(out, ", which belongs to '%s'", cli_get_str(o, "owner"));
    if (text[0] != '\0')
        fprintf(out, ": %s", text);
    if (cli_get(o, "age_ns") != NULL)
        fprintf(out, " for %s, object %" PRIu64, cli_duration(cli_get_u64(o, "age_ns"), age),
                cli_get_u64(o, "object"));
    if (why[0] != '\0')
        fprintf(out, ": %s", why);
    fputc('\n', out);
}
