#include "control/words.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "control/cards.h"

/* Which fields the request of a verb has. */
enum shape { SHAPE_NONE, SHAPE_PLACE, SHAPE_INSERT, SHAPE_ATTACH, SHAPE_LINK };

static const struct {
    const char *name;
    enum shape shape;
} verbs[CONTROL_VERB_COUNT] = {
    [CONTROL_STATUS] = {"status", SHAPE_NONE},
    [CONTROL_ATTACH] = {"attach", SHAPE_ATTACH},
    [CONTROL_DETACH] = {"detach", SHAPE_PLACE},
    [CONTROL_INSERT] = {"insert", SHAPE_INSERT},
    [CONTROL_EJECT] = {"eject", SHAPE_PLACE},
    [CONTROL_LINK] = {"link", SHAPE_LINK},
    [CONTROL_POWER_BUTTON] = {"power-button", SHAPE_NONE},
    [CONTROL_RESET] = {"reset", SHAPE_NONE},
    [CONTROL_STOP] = {"stop", SHAPE_NONE},
};

/* Numbers of errors are the host's own; these words are not. */
static const struct {
    int error;
    const char *code;
} codes[] = {
    {-EIO, "failed"},       {-EINVAL, "invalid"},
    {-ENOENT, "not-found"}, {-EEXIST, "exists"},
    {-EBUSY, "busy"},       {-EACCES, "denied"},
    {-ENOSPC, "no-room"},   {-EOPNOTSUPP, "unsupported"},
    {-EROFS, "read-only"},  {-EAGAIN, "again"},
    {-ENOMEM, "no-memory"},
};
enum { CODE_COUNT = sizeof(codes) / sizeof(codes[0]) };

const char *control_verb_name(enum control_verb verb)
{
    return verbs[verb].name;
}

/* ---- encoding ---- */

static int finish_line(json_t *object, size_t most, char **ret, size_t *ret_length)
{
    if (object == NULL)
        return -EINVAL; /* a text that is not UTF-8; or out of memory */
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    if (text == NULL)
        return -ENOMEM;
    size_t length = strlen(text);
    char *line = length + 1 <= most ? realloc(text, length + 2) : NULL;
    if (line == NULL) {
        free(text);
        return length + 1 > most ? -EMSGSIZE : -ENOMEM;
    }
    line[length++] = '\n';
    line[length] = '\0';
    *ret = line;
    *ret_length = length;
    return 0;
}

int control_encode_request(const struct control_request *request, char **ret, size_t *ret_length)
{
    const char *verb = verbs[request->verb].name;
    int controller = (int)request->controller;
    int lun = (int)request->lun;
    json_t *object = NULL;

    switch (verbs[request->verb].shape) {
    case SHAPE_NONE:
        object = json_pack("{s:s}", "verb", verb);
        break;
    case SHAPE_PLACE:
        object = json_pack("{s:s, s:i, s:i}", "verb", verb, "controller", controller, "lun", lun);
        break;
    case SHAPE_LINK:
        object = json_pack("{s:s, s:i, s:b}", "verb", verb, "card", (int)request->card, "up",
                           (int)request->up);
        break;
    case SHAPE_INSERT:
        object = json_pack("{s:s, s:s, s:i, s:i}", "verb", verb, "path", request->path,
                           "controller", controller, "lun", lun);
        break;
    case SHAPE_ATTACH:
        object = json_pack("{s:s, s:s*, s:b, s:b}", "verb", verb, "path",
                           request->path[0] != '\0' ? request->path : NULL, "read_only",
                           (int)request->read_only, "dvd", (int)request->dvd);
        if (object != NULL && request->placed &&
            (json_object_set_new(object, "controller", json_integer(controller)) < 0 ||
             json_object_set_new(object, "lun", json_integer(lun)) < 0)) {
            json_decref(object);
            object = NULL;
        }
        break;
    }
    return finish_line(object, CONTROL_MOST_REQUEST, ret, ret_length);
}

/* A file's name is bytes, JSON is UTF-8. */
static json_t *path_object(const char *path)
{
    if (path == NULL)
        return json_null();
    json_t *text = json_string(path);
    return text != NULL ? text : json_string("(a name that is not UTF-8)");
}

static json_t *disk_object(const struct control_disk *disk)
{
    return json_pack("{s:o, s:i, s:i, s:b, s:b, s:I, s:I, s:I, s:I, s:I}", "path",
                     path_object(disk->path), "controller", (int)disk->controller, "lun",
                     (int)disk->lun, "read_only", (int)disk->read_only, "dvd", (int)disk->dvd,
                     "capacity", (json_int_t)disk->capacity, "reads", (json_int_t)disk->reads,
                     "writes", (json_int_t)disk->writes, "read_bytes", (json_int_t)disk->read_bytes,
                     "written_bytes", (json_int_t)disk->written_bytes);
}

json_t *control_status_json(const struct control_status *status)
{
    json_t *disks = json_array();

    for (size_t i = 0; i < status->disk_count; i++) {
        if (json_array_append_new(disks, disk_object(&status->disks[i])) < 0) {
            json_decref(disks);
            return NULL;
        }
    }
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:i, s:s, s:i, s:o, s:o}", "state", status->state,
                     "engine", status->engine, "pid", (json_int_t)status->pid, "uptime_ns",
                     (json_int_t)status->uptime_ns, "memory", (json_int_t)status->memory, "cpus",
                     (int)status->cpus, "vmbus", status->vmbus, "channels", (int)status->channels,
                     "disks", disks, "cards", control_cards_json(status));
}

static const char *code_of(int error)
{
    for (int i = 0; i < CODE_COUNT; i++) {
        if (codes[i].error == error)
            return codes[i].code;
    }
    return codes[0].code;
}

static json_t *reply_object(const struct control_reply *reply)
{
    if (reply->error < 0)
        return json_pack("{s:b, s:s, s:s}", "ok", 0, "code", code_of(reply->error), "error",
                         reply->reason.text);
    switch (reply->kind) {
    case CONTROL_REPLY_PLAIN:
        break;
    case CONTROL_REPLY_PLACE:
        return json_pack("{s:b, s:i, s:i}", "ok", 1, "controller", (int)reply->controller, "lun",
                         (int)reply->lun);
    case CONTROL_REPLY_STATUS:
        return json_pack("{s:b, s:o}", "ok", 1, "status", control_status_json(&reply->status));
    }
    return json_pack("{s:b}", "ok", 1);
}

int control_encode_reply(const struct control_reply *reply, char **ret, size_t *ret_length)
{
    return finish_line(reply_object(reply), CONTROL_MOST_REPLY, ret, ret_length);
}

/* ---- decoding ---- */

static json_t *parse(const char *line, size_t length, struct reason *reason)
{
    json_error_t error;
    json_t *object = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);

    if (object == NULL)
        reason_fill(reason, "not a line of JSON");
    else if (!json_is_object(object))
        reason_fill(reason, "not an object of JSON");
    else
        return object;
    json_decref(object);
    return NULL;
}

static bool take_number(json_int_t value, unsigned *ret)
{
    *ret = (unsigned)value;
    return value >= 0 && value <= INT32_MAX;
}

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

/* The fields of a verb, and no others; what is not there keeps its value. */
static int unpack_fields(json_t *object, enum shape shape, const char **path, json_int_t place[2],
                         int flags[2])
{
    const char *verb = NULL;
    json_error_t error;

    switch (shape) {
    case SHAPE_NONE:
        return json_unpack_ex(object, &error, JSON_STRICT, "{s:s}", "verb", &verb);
    case SHAPE_PLACE:
        return json_unpack_ex(object, &error, JSON_STRICT, "{s:s, s:I, s:I}", "verb", &verb,
                              "controller", &place[0], "lun", &place[1]);
    case SHAPE_LINK:
        return json_unpack_ex(object, &error, JSON_STRICT, "{s:s, s:I, s:b}", "verb", &verb, "card",
                              &place[0], "up", &flags[0]);
    case SHAPE_INSERT:
        return json_unpack_ex(object, &error, JSON_STRICT, "{s:s, s:s, s:I, s:I}", "verb", &verb,
                              "path", path, "controller", &place[0], "lun", &place[1]);
    case SHAPE_ATTACH:
        return json_unpack_ex(object, &error, JSON_STRICT, "{s:s, s?s, s?I, s?I, s?b, s?b}", "verb",
                              &verb, "path", path, "controller", &place[0], "lun", &place[1],
                              "read_only", &flags[0], "dvd", &flags[1]);
    }
    return -1;
}

static int take_path(const char *path, struct control_request *ret, struct reason *reason)
{
    size_t length = strlen(path);

    if (path[0] != '/' || length >= sizeof(ret->path))
        return reason_set(reason, -EINVAL, "a path is absolute and shorter than %d bytes",
                          CONTROL_PATH_SIZE);
    memcpy(ret->path, path, length + 1);
    return 0;
}

static int take_request(json_t *object, struct control_request *ret, struct reason *reason)
{
    enum { UNSET = -1 };
    const char *path = NULL;
    json_int_t place[2] = {UNSET, UNSET};
    int flags[2] = {0, 0};
    enum shape shape = verbs[ret->verb].shape;

    if (unpack_fields(object, shape, &path, place, flags) < 0)
        return reason_set(reason, -EINVAL, "the fields of '%s' are not these",
                          verbs[ret->verb].name);
    if (shape == SHAPE_LINK) {
        ret->up = flags[0] != 0;
        return take_number(place[0], &ret->card) ? 0 : reason_set(reason, -EINVAL, "no such card");
    }
    ret->read_only = flags[0] != 0;
    ret->dvd = flags[1] != 0;
    if (shape == SHAPE_NONE)
        return 0;
    ret->placed = json_object_get(object, "controller") != NULL;
    if (ret->placed != (json_object_get(object, "lun") != NULL))
        return reason_set(reason, -EINVAL, "a place is a controller and a lun");
    if (ret->placed &&
        (!take_number(place[0], &ret->controller) || !take_number(place[1], &ret->lun)))
        return reason_set(reason, -EINVAL, "a place is two small numbers");
    if (path == NULL && shape == SHAPE_ATTACH && !ret->dvd)
        return reason_set(reason, -EINVAL, "a disk has a path");
    return path != NULL ? take_path(path, ret, reason) : 0;
}

int control_decode_request(const char *line, size_t length, struct control_request *ret,
                           struct reason *reason)
{
    json_t *object = parse(line, length, reason);

    *ret = (struct control_request){0};
    if (object == NULL)
        return -EINVAL;
    int error = find_verb(object, &ret->verb, reason);
    if (error == 0)
        error = take_request(object, ret, reason);
    json_decref(object);
    return error;
}

static void take_text(const char *from, char *to, size_t size)
{
    size_t length = strnlen(from, size - 1);

    memset(to, 0, size);
    for (size_t i = 0; i < length; i++)
        to[i] = '?';
    for (size_t i = 0; i < length; i++) {
        if (from[i] >= ' ' && from[i] <= '~')
            to[i] = from[i];
    }
}

static bool take_counts(const json_int_t *from, uint64_t *const *to, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (from[i] < 0)
            return false;
        *to[i] = (uint64_t)from[i];
    }
    return true;
}

static int take_disk_path(const json_t *path, struct control_disk *ret)
{
    if (json_is_null(path))
        return 0;
    if (!json_is_string(path))
        return -EINVAL;
    ret->path = strdup(json_string_value(path));
    return ret->path != NULL ? 0 : -ENOMEM;
}

static int take_disk(json_t *object, struct control_disk *ret)
{
    enum { COUNTS = 5 };
    uint64_t *const counts[COUNTS] = {&ret->capacity, &ret->reads, &ret->writes, &ret->read_bytes,
                                      &ret->written_bytes};
    json_int_t place[2];
    json_int_t numbers[COUNTS];
    int flags[2];

    if (json_unpack(object, "{s:I, s:I, s:b, s:b, s:I, s:I, s:I, s:I, s:I}", "controller",
                    &place[0], "lun", &place[1], "read_only", &flags[0], "dvd", &flags[1],
                    "capacity", &numbers[0], "reads", &numbers[1], "writes", &numbers[2],
                    "read_bytes", &numbers[3], "written_bytes", &numbers[4]) < 0 ||
        !take_number(place[0], &ret->controller) || !take_number(place[1], &ret->lun) ||
        !take_counts(numbers, counts, COUNTS))
        return -EINVAL;
    ret->read_only = flags[0] != 0;
    ret->dvd = flags[1] != 0;
    return take_disk_path(json_object_get(object, "path"), ret);
}

static int take_disks(const json_t *array, struct control_status *ret)
{
    size_t count = json_array_size(array);
    int error = 0;

    if (!json_is_array(array) || count > CONTROL_MOST_DISKS)
        return -EINVAL;
    ret->disks = calloc(count + 1, sizeof(ret->disks[0]));
    if (ret->disks == NULL)
        return -ENOMEM;
    ret->disk_count = count;
    for (size_t i = 0; error == 0 && i < count; i++)
        error = take_disk(json_array_get(array, i), &ret->disks[i]);
    return error;
}

static int take_status(json_t *object, struct control_status *ret)
{
    enum { COUNTS = 3 };
    uint64_t *const counts[COUNTS] = {&ret->pid, &ret->uptime_ns, &ret->memory};
    const char *texts[3];
    json_int_t numbers[COUNTS];
    json_int_t small[2];
    json_t *disks = NULL;

    if (json_unpack(object, "{s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:I, s:o}", "state", &texts[0],
                    "engine", &texts[1], "pid", &numbers[0], "uptime_ns", &numbers[1], "memory",
                    &numbers[2], "cpus", &small[0], "vmbus", &texts[2], "channels", &small[1],
                    "disks", &disks) < 0 ||
        !take_number(small[0], &ret->cpus) || !take_number(small[1], &ret->channels) ||
        !take_counts(numbers, counts, COUNTS))
        return -EINVAL;
    take_text(texts[0], ret->state, sizeof(ret->state));
    take_text(texts[1], ret->engine, sizeof(ret->engine));
    take_text(texts[2], ret->vmbus, sizeof(ret->vmbus));
    if (control_cards_take(json_object_get(object, "cards"), ret) < 0)
        return -EINVAL;
    return take_disks(disks, ret);
}

static int take_refusal(json_t *object, struct control_reply *ret)
{
    const char *code = NULL;
    const char *text = NULL;

    if (json_unpack(object, "{s:s, s:s}", "code", &code, "error", &text) < 0)
        return -EINVAL;
    ret->error = codes[0].error;
    for (int i = 0; i < CODE_COUNT; i++) {
        if (strcmp(codes[i].code, code) == 0)
            ret->error = codes[i].error;
    }
    take_text(text, ret->reason.text, sizeof(ret->reason.text));
    return 0;
}

static int take_reply(json_t *object, struct control_reply *ret)
{
    json_t *status = json_object_get(object, "status");
    json_int_t place[2];
    int ok = 0;

    if (json_unpack(object, "{s:b}", "ok", &ok) < 0)
        return -EINVAL;
    if (!ok)
        return take_refusal(object, ret);
    if (status != NULL) {
        ret->kind = CONTROL_REPLY_STATUS;
        return take_status(status, &ret->status);
    }
    if (json_object_get(object, "controller") == NULL)
        return 0;
    ret->kind = CONTROL_REPLY_PLACE;
    if (json_unpack(object, "{s:I, s:I}", "controller", &place[0], "lun", &place[1]) < 0)
        return -EINVAL;
    return take_number(place[0], &ret->controller) && take_number(place[1], &ret->lun) ? 0
                                                                                       : -EINVAL;
}

int control_decode_reply(const char *line, size_t length, struct control_reply *ret,
                         struct reason *reason)
{
    json_t *object = parse(line, length, reason);

    *ret = (struct control_reply){0};
    if (object == NULL)
        return -EINVAL;
    int error = take_reply(object, ret);
    if (error < 0)
        reason_fill(reason, "the partition's answer is not understood");
    json_decref(object);
    return error;
}

void control_reply_release(struct control_reply *reply)
{
    for (size_t i = 0; i < reply->status.disk_count; i++)
        free(reply->status.disks[i].path);
    free(reply->status.disks);
    reply->status.disks = NULL;
    reply->status.disk_count = 0;
}
