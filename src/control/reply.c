/* Replies (words.h). */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "control/cards.h"
#include "control/words_private.h"

/* Numbers of errors are the host's own; these words are not. */
static const struct {
    int error;
    const char *code;
} codes[] = {
    {-EIO, "failed"},          {-EINVAL, "invalid"},
    {-ENOENT, "not-found"},    {-EEXIST, "exists"},
    {-EBUSY, "busy"},          {-EACCES, "denied"},
    {-ENOSPC, "no-room"},      {-EOPNOTSUPP, "unsupported"},
    {-EROFS, "read-only"},     {-EAGAIN, "again"},
    {-ENOMEM, "no-memory"},    {-ENOTCONN, "not-connected"},
    {-ECANCELED, "cancelled"},
};
enum { CODE_COUNT = sizeof(codes) / sizeof(codes[0]) };

/* ---- encoding ---- */

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
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:i, s:s, s:i, s:s, s:o, s:o}", "state",
                     status->state, "engine", status->engine, "pid", (json_int_t)status->pid,
                     "uptime_ns", (json_int_t)status->uptime_ns, "memory",
                     (json_int_t)status->memory, "assigned", (json_int_t)status->assigned, "cpus",
                     (int)status->cpus, "vmbus", status->vmbus, "channels", (int)status->channels,
                     "heartbeat", status->heartbeat, "disks", disks, "cards",
                     control_cards_json(status));
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
    case CONTROL_REPLY_RESULT:
        return json_pack("{s:b, s:O}", "ok", 1, "result", reply->result);
    }
    return json_pack("{s:b}", "ok", 1);
}

int control_encode_reply(const struct control_reply *reply, char **ret, size_t *ret_length)
{
    return words_finish_line(reply_object(reply), CONTROL_MOST_REPLY, ret, ret_length);
}

/* ---- decoding ---- */

static bool take_number(json_int_t value, unsigned *ret)
{
    *ret = (unsigned)value;
    return value >= 0 && value <= INT32_MAX;
}

void control_printable(const char *from, char *to, size_t size)
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
    enum { COUNTS = 4 };
    uint64_t *const counts[COUNTS] = {&ret->pid, &ret->uptime_ns, &ret->memory, &ret->assigned};
    const char *texts[4] = {NULL, NULL, NULL, ""};
    json_int_t numbers[COUNTS] = {0};
    json_int_t small[2];
    json_t *disks = NULL;

    if (json_unpack(object, "{s:s, s:s, s:I, s:I, s:I, s?I, s:I, s:s, s:I, s?s, s:o}", "state",
                    &texts[0], "engine", &texts[1], "pid", &numbers[0], "uptime_ns", &numbers[1],
                    "memory", &numbers[2], "assigned", &numbers[3], "cpus", &small[0], "vmbus",
                    &texts[2], "channels", &small[1], "heartbeat", &texts[3], "disks",
                    &disks) < 0 ||
        !take_number(small[0], &ret->cpus) || !take_number(small[1], &ret->channels) ||
        !take_counts(numbers, counts, COUNTS))
        return -EINVAL;
    /* An older worker does not tell. */
    if (json_object_get(object, "assigned") == NULL)
        ret->assigned = ret->memory;
    control_printable(texts[0], ret->state, sizeof(ret->state));
    control_printable(texts[1], ret->engine, sizeof(ret->engine));
    control_printable(texts[2], ret->vmbus, sizeof(ret->vmbus));
    if (control_cards_take(json_object_get(object, "cards"), ret) < 0)
        return -EINVAL;
    control_printable(texts[3], ret->heartbeat, sizeof(ret->heartbeat));
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
    control_printable(text, ret->reason.text, sizeof(ret->reason.text));
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
    ret->result = json_incref(json_object_get(object, "result"));
    if (ret->result != NULL) {
        ret->kind = CONTROL_REPLY_RESULT;
        return 0;
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
    json_t *object = words_parse(line, length, reason);

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
    json_decref(reply->result);
    reply->result = NULL;
}
