#include "switchd/words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/socket.h"
#include "net/hello.h"
#include "switchd/nat.h"

/* ---- fields of any object ---- */

int words_take(json_t *object, const struct words_field *fields, void *to, struct reason *reason)
{
    const char *key = NULL;
    json_t *value = NULL;

    if (!json_is_object(object))
        return reason_set(reason, -EINVAL, "an object is wanted");
    json_object_foreach(object, key, value)
    {
        const struct words_field *field = fields;
        while (field->name != NULL && strcmp(field->name, key) != 0)
            field++;
        if (field->name == NULL)
            return reason_set(reason, -EINVAL, "'%.40s' is not known", key);
        int error = field->take(value, to, reason);
        if (error < 0)
            return error;
    }
    return 0;
}

static int take_text(const json_t *value, char *to, size_t size, struct reason *reason)
{
    const char *text = json_string_value(value);

    if (text == NULL || json_string_length(value) >= size)
        return reason_set(reason, -EINVAL, "a text of less than %zu characters is wanted", size);
    memset(to, 0, size);
    memcpy(to, text, strlen(text) + 1);
    return 0;
}

static int take_name(json_t *value, void *to, struct reason *reason)
{
    struct hub_config *config = to;
    int error = take_text(value, config->name, sizeof(config->name), reason);

    if (error == 0 && !control_name_is_valid(config->name))
        return reason_set(reason, -EINVAL, "'%s' is no name for a switch", config->name);
    return error;
}

static int take_kind(json_t *value, void *to, struct reason *reason)
{
    struct hub_config *config = to;
    const char *text = json_string_value(value);

    for (unsigned i = 0; text != NULL && i < HUB_KINDS; i++) {
        if (strcmp(text, hub_kind_name(i)) == 0) {
            config->kind = i;
            return 0;
        }
    }
    return reason_set(reason, -EINVAL, "the kind is private, internal, external or nat");
}

/* As the kernel has it: 15 characters, none of them a slash or a space. */
static int take_interface(json_t *value, void *to, struct reason *reason)
{
    enum { MOST_INTERFACE = 16 };
    struct hub_config *config = to;

    if (take_text(value, config->interface, MOST_INTERFACE, reason) < 0 ||
        strpbrk(config->interface, "/ %\n\t") != NULL || config->interface[0] == '.')
        return reason_set(reason, -EINVAL, "that is no name of a network interface");
    return 0;
}

static int take_number(const json_t *value, uint64_t most, uint64_t *ret, const char *what,
                       struct reason *reason)
{
    json_int_t number = json_integer_value(value);

    if (!json_is_integer(value) || number < 0 || (uint64_t)number > most)
        return reason_set(reason, -EINVAL, "%s is a number to %llu", what,
                          (unsigned long long)most);
    *ret = (uint64_t)number;
    return 0;
}

enum { GIGA = 1000000000, MOST_GIGABITS = 1000, MOST_STORM = 100000000 };
static const uint64_t most_rate = (uint64_t)GIGA * MOST_GIGABITS;

static int take_uplink_rate(json_t *value, void *to, struct reason *reason)
{
    struct hub_config *config = to;
    return take_number(value, most_rate, &config->uplink_rate, "a rate", reason);
}

static int take_forwards(json_t *value, void *to, struct reason *reason)
{
    struct hub_config *config = to;
    size_t index = 0;
    const json_t *item = NULL;

    if (!json_is_array(value) || json_array_size(value) > HUB_MOST_FORWARDS)
        return reason_set(reason, -EINVAL, "there are %d forwards at most", HUB_MOST_FORWARDS);
    config->forward_count = 0;
    json_array_foreach(value, index, item)
    {
        int error = take_text(item, config->forwards[index], HUB_FORWARD_SIZE, reason);
        struct nat_forward forward;
        if (error == 0 && !nat_parse_forward(config->forwards[index], &forward))
            error = reason_set(reason, -EINVAL, "'%s': a forward is as tcp:2222:10.0.2.15:22",
                               config->forwards[index]);
        if (error < 0)
            return error;
        config->forward_count++;
    }
    return 0;
}

int words_take_config(json_t *object, struct hub_config *ret, struct reason *reason)
{
    static const struct words_field fields[] = {
        {"name", take_name},           {"kind", take_kind},
        {"interface", take_interface}, {"uplink_rate", take_uplink_rate},
        {"forwards", take_forwards},   {0},
    };
    int error = words_take(object, fields, ret, reason);

    if (error < 0)
        return error;
    if (ret->kind == HUB_EXTERNAL && ret->interface[0] == '\0')
        return reason_set(reason, -EINVAL, "an external switch needs an interface of the host");
    if ((ret->kind == HUB_PRIVATE || ret->kind == HUB_NAT) && ret->interface[0] != '\0')
        return reason_set(reason, -EINVAL, "a switch of kind %s has no interface",
                          hub_kind_name(ret->kind));
    if (ret->kind != HUB_NAT && ret->forward_count > 0)
        return reason_set(reason, -EINVAL, "ports are forwarded by switches of kind nat only");
    return 0;
}

json_t *words_config(const struct hub_config *config)
{
    json_t *forwards = json_array();

    for (unsigned i = 0; i < config->forward_count; i++)
        (void)json_array_append_new(forwards, json_string(config->forwards[i]));
    return json_pack("{s:s, s:s, s:s, s:I, s:o}", "name", config->name, "kind",
                     hub_kind_name(config->kind), "interface", config->interface, "uplink_rate",
                     (json_int_t)config->uplink_rate, "forwards", forwards);
}

int words_take_port(const char *text, char ret_partition[HUB_NAME_SIZE], unsigned *ret_card,
                    struct reason *reason)
{
    const char *colon = strchr(text, ':');
    size_t length = colon != NULL ? (size_t)(colon - text) : strlen(text);
    char *end = NULL;

    *ret_card = 0;
    memset(ret_partition, 0, HUB_NAME_SIZE);
    if (length < HUB_NAME_SIZE)
        (void)snprintf(ret_partition, HUB_NAME_SIZE, "%.*s", (int)length, text);
    if (length >= HUB_NAME_SIZE || !control_name_is_valid(ret_partition))
        return reason_set(reason, -EINVAL, "a port is the name of a partition, or NAME:CARD");
    if (colon == NULL)
        return 0;
    unsigned long card = strtoul(colon + 1, &end, 10);
    if (colon[1] < '0' || colon[1] > '9' || *end != '\0' || card > HELLO_MOST_CARD)
        return reason_set(reason, -EINVAL, "a card is a number from 0 on");
    *ret_card = (unsigned)card;
    return 0;
}
