/* Requests: a table of fields, and one of verbs that says which of them each has (words.h). */
#include <errno.h>
#include <string.h>

#include "control/words_private.h"

enum field_kind {
    FIELD_PATH,   /* absolute */
    FIELD_TEXT,   /* any */
    FIELD_NUMBER, /* unsigned, below 2^31 */
    FIELD_FLAG,
    FIELD_PLACE, /* two numbers: a controller and a lun */
};

enum field_bit {
    PATH = 1 << 0,
    PLACE = 1 << 1,
    READ_ONLY = 1 << 2,
    DVD = 1 << 3,
    SERVICE = 1 << 4,
    ENABLED = 1 << 5,
    WAY = 1 << 6,
    POOL = 1 << 7,
    KEY = 1 << 8,
    VALUE = 1 << 9,
    ADAPTER = 1 << 10,
    ADDRESSES = 1 << 11,
    DESTINATION = 1 << 12,
    OVERWRITE = 1 << 13,
    ID = 1 << 14,
    CARD = 1 << 15,
    UP = 1 << 16,
    MEMORY = 1 << 17,
    KEYS = 1 << 18,
    TEXT = 1 << 19,
    POINTER = 1 << 20,
};

#define AT(member) \
    offsetof(struct control_request, member), sizeof(((struct control_request *)NULL)->member)

/* What is absent is empty, 0 or false; in this order. */
static const struct field {
    enum field_bit bit;
    enum field_kind kind;
    const char *name;
    size_t at, size;
} fields[] = {
    {PATH, FIELD_PATH, "path", AT(path)},
    {PLACE, FIELD_PLACE, "controller", AT(controller)},
    {PLACE, FIELD_PLACE, "lun", AT(lun)},
    {READ_ONLY, FIELD_FLAG, "read_only", AT(read_only)},
    {DVD, FIELD_FLAG, "dvd", AT(dvd)},
    {SERVICE, FIELD_TEXT, "service", AT(service)},
    {ENABLED, FIELD_FLAG, "enabled", AT(enabled)},
    {WAY, FIELD_TEXT, "way", AT(way)},
    {POOL, FIELD_TEXT, "pool", AT(pool)},
    {KEY, FIELD_TEXT, "key", AT(key)},
    {VALUE, FIELD_TEXT, "value", AT(value)},
    {ADAPTER, FIELD_TEXT, "adapter", AT(adapter)},
    {ADDRESSES, FIELD_FLAG, "dhcp", AT(dhcp)},
    {ADDRESSES, FIELD_TEXT, "addresses", AT(addresses)},
    {ADDRESSES, FIELD_TEXT, "masks", AT(masks)},
    {ADDRESSES, FIELD_TEXT, "gateways", AT(gateways)},
    {ADDRESSES, FIELD_TEXT, "servers", AT(servers)},
    {DESTINATION, FIELD_TEXT, "destination", AT(destination)},
    {OVERWRITE, FIELD_FLAG, "overwrite", AT(overwrite)},
    {OVERWRITE, FIELD_FLAG, "make_folders", AT(make_folders)},
    {ID, FIELD_NUMBER, "id", AT(id)},
    {CARD, FIELD_NUMBER, "card", AT(card)},
    {UP, FIELD_FLAG, "up", AT(up)},
    {MEMORY, FIELD_NUMBER, "minimum_mib", AT(minimum_mib)},
    {MEMORY, FIELD_NUMBER, "maximum_mib", AT(maximum_mib)},
    {MEMORY, FIELD_NUMBER, "target_mib", AT(target_mib)},
    {MEMORY, FIELD_NUMBER, "buffer", AT(buffer)},
    {MEMORY, FIELD_NUMBER, "weight", AT(weight)},
    {MEMORY, FIELD_FLAG, "automatic", AT(automatic)},
    {MEMORY, FIELD_FLAG, "balanced", AT(balanced)},
    {KEYS, FIELD_TEXT, "keys", AT(keys)},
    {TEXT, FIELD_TEXT, "text", AT(text)},
    {POINTER, FIELD_FLAG, "moves", AT(moves)},
    {POINTER, FIELD_NUMBER, "x", AT(x)},
    {POINTER, FIELD_NUMBER, "y", AT(y)},
    {POINTER, FIELD_NUMBER, "button", AT(button)},
    {POINTER, FIELD_NUMBER, "wheel_up", AT(wheel_up)},
    {POINTER, FIELD_NUMBER, "wheel_down", AT(wheel_down)},
};
enum { FIELD_COUNT = sizeof(fields) / sizeof(fields[0]) };

/* The fields that the request of a verb has to have, and those that it may have. */
static const struct {
    const char *name;
    unsigned must, may;
} verbs[CONTROL_VERB_COUNT] = {
    [CONTROL_STATUS] = {"status", 0, 0},
    [CONTROL_ATTACH] = {"attach", 0, PATH | PLACE | READ_ONLY | DVD},
    [CONTROL_DETACH] = {"detach", PLACE, 0},
    [CONTROL_INSERT] = {"insert", PATH | PLACE, 0},
    [CONTROL_EJECT] = {"eject", PLACE, 0},
    [CONTROL_POWER_BUTTON] = {"power-button", 0, 0},
    [CONTROL_RESET] = {"reset", 0, 0},
    [CONTROL_STOP] = {"stop", 0, 0},
    [CONTROL_LINK] = {"link", CARD | UP, 0},
    [CONTROL_INTEGRATION] = {"integration", 0, 0},
    [CONTROL_INTEGRATION_SET] = {"integration-set", SERVICE | ENABLED, 0},
    [CONTROL_SHUTDOWN] = {"shutdown", WAY, 0},
    [CONTROL_KVP_GET] = {"kvp-get", POOL | KEY, 0},
    [CONTROL_KVP_SET] = {"kvp-set", POOL | KEY | VALUE, 0},
    [CONTROL_KVP_DELETE] = {"kvp-delete", POOL | KEY, 0},
    [CONTROL_KVP_LIST] = {"kvp-list", POOL, 0},
    [CONTROL_IP_GET] = {"ip-get", ADAPTER, 0},
    [CONTROL_IP_SET] = {"ip-set", ADAPTER, ADDRESSES},
    [CONTROL_FREEZE] = {"freeze", 0, 0},
    [CONTROL_THAW] = {"thaw", 0, 0},
    [CONTROL_COPY] = {"copy", PATH | DESTINATION, OVERWRITE},
    [CONTROL_COPY_STATUS] = {"copy-status", ID, 0},
    [CONTROL_COPY_CANCEL] = {"copy-cancel", ID, 0},
    [CONTROL_MEMORY] = {"memory", 0, 0},
    [CONTROL_MEMORY_SET] = {"memory-set", 0, MEMORY},
    [CONTROL_KEYS] = {"keys", KEYS, 0},
    [CONTROL_TYPE] = {"type", TEXT, 0},
    [CONTROL_POINTER] = {"pointer", 0, POINTER},
};

const char *control_verb_name(enum control_verb verb)
{
    return verbs[verb].name;
}

/* ---- encoding ---- */

static json_t *field_value(const struct control_request *request, const struct field *field)
{
    const void *value = (const char *)request + field->at;

    switch (field->kind) {
    case FIELD_PATH:
    case FIELD_TEXT:
        return json_string(value);
    case FIELD_FLAG:
        return json_boolean(*(const bool *)value);
    case FIELD_NUMBER:
    case FIELD_PLACE:
        break;
    }
    return json_integer(*(const unsigned *)value);
}

static bool is_said(const struct control_request *request, const struct field *field)
{
    const void *value = (const char *)request + field->at;

    switch (field->kind) {
    case FIELD_PATH:
    case FIELD_TEXT:
        return *(const char *)value != '\0';
    case FIELD_NUMBER:
        return *(const unsigned *)value != 0;
    case FIELD_FLAG:
        return *(const bool *)value;
    case FIELD_PLACE:
        break;
    }
    return request->placed;
}

int control_encode_request(const struct control_request *request, char **ret, size_t *ret_length)
{
    json_t *object = json_pack("{s:s}", "verb", verbs[request->verb].name);
    unsigned must = verbs[request->verb].must;
    unsigned may = verbs[request->verb].may;

    for (unsigned i = 0; i < FIELD_COUNT; i++) {
        const struct field *field = &fields[i];
        if ((must & field->bit) == 0 && ((may & field->bit) == 0 || !is_said(request, field)))
            continue;
        if (json_object_set_new(object, field->name, field_value(request, field)) < 0) {
            json_decref(object);
            return -EINVAL; /* not UTF-8 */
        }
    }
    return words_finish_line(object, CONTROL_MOST_REQUEST, ret, ret_length);
}

/* ---- decoding ---- */

static int find_verb(const json_t *object, enum control_verb *ret, struct reason *reason)
{
    const char *name = json_string_value(json_object_get(object, "verb"));

    if (name == NULL)
        return reason_set(reason, -EINVAL, "a request has a verb");
    for (unsigned i = 0; i < CONTROL_VERB_COUNT; i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            *ret = (enum control_verb)i;
            return 0;
        }
    }
    return reason_set(reason, -EINVAL, "no verb '%.32s'", name);
}

static const struct field *find_field(enum control_verb verb, const char *name)
{
    for (unsigned i = 0; i < FIELD_COUNT; i++) {
        if (strcmp(fields[i].name, name) == 0)
            return (fields[i].bit & (verbs[verb].must | verbs[verb].may)) != 0 ? &fields[i] : NULL;
    }
    return NULL;
}

static int take_text(const json_t *value, const struct field *field, char *to,
                     struct reason *reason)
{
    const char *text = json_string_value(value);

    if (text == NULL)
        return reason_set(reason, -EINVAL, "'%s' is a text", field->name);
    if (field->kind == FIELD_PATH && (text[0] != '/' || strlen(text) >= field->size))
        return reason_set(reason, -EINVAL, "a path is absolute and shorter than %zu bytes",
                          field->size);
    if (strlen(text) >= field->size)
        return reason_set(reason, -EINVAL, "'%s' is shorter than %zu bytes", field->name,
                          field->size);
    memcpy(to, text, strlen(text) + 1);
    return 0;
}

static int take_number(const json_t *value, const struct field *field, unsigned *to,
                       struct reason *reason)
{
    json_int_t number = json_integer_value(value);

    if (!json_is_integer(value) || number < 0 || number > INT32_MAX)
        return reason_set(reason, -EINVAL, "'%s' is a small number", field->name);
    *to = (unsigned)number;
    return 0;
}

static int take_field(const json_t *value, const struct field *field, struct control_request *ret,
                      struct reason *reason)
{
    void *to = (char *)ret + field->at;

    switch (field->kind) {
    case FIELD_PATH:
    case FIELD_TEXT:
        return take_text(value, field, to, reason);
    case FIELD_FLAG:
        if (!json_is_boolean(value))
            return reason_set(reason, -EINVAL, "'%s' is true or false", field->name);
        *(bool *)to = json_is_true(value);
        return 0;
    case FIELD_PLACE:
        ret->placed = true;
        break;
    case FIELD_NUMBER:
        break;
    }
    return take_number(value, field, to, reason);
}

static int check_complete(const json_t *object, const struct control_request *request,
                          struct reason *reason)
{
    for (unsigned i = 0; i < FIELD_COUNT; i++) {
        bool owed = (fields[i].bit & verbs[request->verb].must) != 0 ||
                    (fields[i].kind == FIELD_PLACE && request->placed);
        if (owed && json_object_get(object, fields[i].name) == NULL)
            return reason_set(reason, -EINVAL, "'%s' lacks '%s'", verbs[request->verb].name,
                              fields[i].name);
    }
    if (request->verb == CONTROL_ATTACH && request->path[0] == '\0' && !request->dvd)
        return reason_set(reason, -EINVAL, "a disk has a path");
    return 0;
}

static int take_request(json_t *object, struct control_request *ret, struct reason *reason)
{
    const char *name = NULL;
    json_t *value = NULL;

    json_object_foreach(object, name, value)
    {
        if (strcmp(name, "verb") == 0)
            continue;
        const struct field *field = find_field(ret->verb, name);
        if (field == NULL)
            return reason_set(reason, -EINVAL, "'%s' has no '%.32s'", verbs[ret->verb].name, name);
        int error = take_field(value, field, ret, reason);
        if (error < 0)
            return error;
    }
    return check_complete(object, ret, reason);
}

int control_decode_request(const char *line, size_t length, struct control_request *ret,
                           struct reason *reason)
{
    json_t *object = words_parse(line, length, reason);

    *ret = (struct control_request){0};
    if (object == NULL)
        return -EINVAL;
    int error = find_verb(object, &ret->verb, reason);
    if (error == 0)
        error = take_request(object, ret, reason);
    json_decref(object);
    return error;
}
