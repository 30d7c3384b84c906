#include "switchd/orders.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "switchd/report.h"
#include "switchd/words.h"

/* What any request may have. */
struct request {
    json_t *config, *settings, *rule; /* borrowed; NULL: not there */
    const char *verb, *name, *port;
    json_int_t number;
    bool force;
};

struct answer {
    int error;
    struct reason reason;
    json_t *result; /* the answer's own; may be NULL */
};

static int refuse(struct answer *answer, int error, const char *why)
{
    reason_fill(&answer->reason, "%s", why);
    return error;
}

/* ---- fields ---- */

static int take_text(const json_t *value, const char **ret, struct reason *reason)
{
    *ret = json_string_value(value);
    return *ret != NULL ? 0 : reason_set(reason, -EINVAL, "a text is wanted");
}

static int take_verb(json_t *value, void *to, struct reason *reason)
{
    return take_text(value, &((struct request *)to)->verb, reason);
}

static int take_name(json_t *value, void *to, struct reason *reason)
{
    return take_text(value, &((struct request *)to)->name, reason);
}

static int take_port(json_t *value, void *to, struct reason *reason)
{
    return take_text(value, &((struct request *)to)->port, reason);
}

static int take_number(json_t *value, void *to, struct reason *reason)
{
    ((struct request *)to)->number = json_integer_value(value);
    return json_is_integer(value) && json_integer_value(value) >= 0
               ? 0
               : reason_set(reason, -EINVAL, "a number is wanted");
}

static int take_config(json_t *value, void *to, struct reason *reason)
{
    (void)reason;
    ((struct request *)to)->config = value;
    return 0;
}

static int take_settings(json_t *value, void *to, struct reason *reason)
{
    (void)reason;
    ((struct request *)to)->settings = value;
    return 0;
}

static int take_rule(json_t *value, void *to, struct reason *reason)
{
    (void)reason;
    ((struct request *)to)->rule = value;
    return 0;
}

static int take_force(json_t *value, void *to, struct reason *reason)
{
    ((struct request *)to)->force = json_is_true(value);
    return json_is_boolean(value) ? 0 : reason_set(reason, -EINVAL, "force is true or false");
}

static const struct words_field fields[] = {
    {"verb", take_verb},     {"switch", take_name},       {"port", take_port},
    {"config", take_config}, {"settings", take_settings}, {"rule", take_rule},
    {"number", take_number}, {"force", take_force},       {0},
};

/* ---- finding ---- */

static int find_switch(const struct registry *registry, const struct request *request,
                       struct hub **ret, struct answer *answer)
{
    if (request->name == NULL)
        return refuse(answer, -EINVAL, "a switch is to be named");
    *ret = registry_find(registry, request->name);
    if (*ret == NULL)
        return reason_set(&answer->reason, -ENOENT, "there is no switch %.64s", request->name);
    return 0;
}

static int find_port(const struct registry *registry, const struct request *request,
                     struct hub_port **ret, struct answer *answer)
{
    struct hub *hub = NULL;
    char partition[HUB_NAME_SIZE] = "";
    unsigned card = 0;
    int error = find_switch(registry, request, &hub, answer);

    if (error == 0 && request->port == NULL)
        error = refuse(answer, -EINVAL, "a port is to be named");
    if (error == 0)
        error = words_take_port(request->port, partition, &card, &answer->reason);
    if (error < 0)
        return error;
    *ret = hub_find_port(hub, partition, card);
    if (*ret == NULL)
        return reason_set(&answer->reason, -ENOENT, "switch %.64s has no port %.64s:%u",
                          request->name, partition, card);
    return 0;
}

/* ---- verbs ---- */

/* A file of earlier days may have such a switch: it is read, and its rate can be taken away. */
static int check_rate(const struct hub_config *config, enum hub_kind kind, struct answer *answer)
{
    if (kind != HUB_PRIVATE || config->uplink_rate == 0)
        return 0;
    return refuse(answer, -EINVAL, "a private switch has no uplink, and no rate of one");
}

static int create(struct registry *registry, const struct request *request, struct answer *answer)
{
    struct hub_config config = {0};
    struct hub *hub = NULL;
    int error = words_take_config(request->config, &config, &answer->reason);

    if (error == 0 && config.name[0] == '\0')
        error = refuse(answer, -EINVAL, "a switch has a name");
    if (error == 0)
        error = check_rate(&config, config.kind, answer);
    if (error == 0)
        error = registry_add(registry, &config, &hub, &answer->reason);
    return error < 0 ? error : registry_store_new(registry, hub, &answer->reason);
}

/* Of a switch that is there only its rate can be changed. */
static int set(struct registry *registry, const struct request *request, struct answer *answer)
{
    struct hub_config config = {0};
    struct hub *hub = NULL;
    const json_t *rate = json_object_get(request->config, "uplink_rate");
    int error = find_switch(registry, request, &hub, answer);

    if (error == 0 && (rate == NULL || json_object_size(request->config) != 1))
        error = refuse(answer, -EINVAL, "an uplink rate is wanted, and nothing else");
    if (error == 0)
        error = words_take_config(request->config, &config, &answer->reason);
    if (error == 0)
        error = check_rate(&config, hub->config.kind, answer);
    if (error < 0)
        return error;
    const uint64_t before = hub->config.uplink_rate;
    hub_set_uplink_rate(hub, config.uplink_rate);
    error = store_save(registry, &answer->reason);
    if (error < 0)
        hub_set_uplink_rate(hub, before);
    return error;
}

/* Names of ports, as many as a reason has room for. */
struct names {
    unsigned count;
    bool more;
    char text[160];
};

/* As people write it: the first card needs no number. */
static void add_name(const struct hub_port *port, struct names *names)
{
    char number[16] = "";
    size_t used = strlen(names->text);

    if (port->card != 0)
        (void)snprintf(number, sizeof(number), ":%u", port->card);
    if (used + strlen(port->partition) + sizeof(number) + 2 < sizeof(names->text))
        (void)snprintf(names->text + used, sizeof(names->text) - used, "%s%s%s",
                       names->count > 0 ? ", " : "", port->partition, number);
    else
        names->more = true;
    names->count++;
}

/* Guests that would lose their network. */
static int check_unused(const struct hub *hub, struct answer *answer)
{
    struct names names = {0};

    for (unsigned i = 0; i < HUB_MOST_PORTS; i++) {
        if (hub->ports[i].used && hub_is_busy(&hub->ports[i]))
            add_name(&hub->ports[i], &names);
    }
    if (names.count == 0)
        return 0;
    return reason_set(&answer->reason, -EBUSY,
                      "%u port%s connected (%s%s); --force deletes it all the same", names.count,
                      names.count == 1 ? " is" : "s are", names.text, names.more ? ", ..." : "");
}

static int delete_switch(struct registry *registry, const struct request *request,
                         struct answer *answer)
{
    struct hub *hub = NULL;
    int error = find_switch(registry, request, &hub, answer);

    if (error == 0 && !request->force)
        error = check_unused(hub, answer);
    return error < 0 ? error : registry_remove(registry, hub, &answer->reason);
}

static int list(struct registry *registry, const struct request *request, struct answer *answer)
{
    (void)request;
    answer->result = report_list(registry);
    return 0;
}

static int show(struct registry *registry, const struct request *request, struct answer *answer)
{
    struct hub *hub = NULL;
    int error = find_switch(registry, request, &hub, answer);

    if (error == 0)
        answer->result = report_switch(hub);
    return error;
}

static int meters(struct registry *registry, const struct request *request, struct answer *answer)
{
    struct hub *hub = NULL;
    int error = find_switch(registry, request, &hub, answer);

    if (error == 0)
        answer->result = report_meters(hub);
    return error;
}

/* A card has its address from its start to its end, and would say it again at the next hello. */
static int check_mac(const struct hub_port *port, const struct port_settings *settings,
                     struct answer *answer)
{
    if (!hub_is_busy(port) ||
        memcmp(port->settings.core.mac, settings->core.mac, FRAME_MAC_SIZE) == 0)
        return 0;
    return reason_set(&answer->reason, -EBUSY,
                      "%.64s is connected: its card keeps its address until it ends, set another "
                      "one before it starts",
                      port->partition);
}

static int store_settings(struct registry *registry, struct hub_port *port,
                          const struct port_settings *settings, struct answer *answer)
{
    const struct port_settings before = port->settings;
    int error = check_mac(port, settings, answer);

    if (error < 0)
        return error;
    error = hub_change_port(port, settings);
    if (error < 0)
        return refuse(answer, error,
                      error == -EEXIST ? "another port has this address"
                                       : "these settings make no sense");
    error = store_save(registry, &answer->reason);
    if (error < 0)
        (void)hub_change_port(port, &before);
    return error;
}

/* Made when it is not there: settings may be given before the guest starts. */
static int change_port(struct registry *registry, const struct request *request,
                       struct answer *answer)
{
    struct hub *hub = NULL;
    struct hub_port *port = NULL;
    char partition[HUB_NAME_SIZE] = "";
    unsigned card = 0;
    bool is_new = false;
    struct port_settings settings;
    int error = find_switch(registry, request, &hub, answer);

    hub_default_settings(&settings);
    if (error == 0 && (request->port == NULL || request->settings == NULL))
        error = refuse(answer, -EINVAL, "a port and its settings are wanted");
    if (error == 0)
        error = words_take_port(request->port, partition, &card, &answer->reason);
    if (error == 0) /* before a port is made for nothing */
        error = words_take_settings(request->settings, &settings, &answer->reason);
    if (error == 0)
        is_new = hub_find_port(hub, partition, card) == NULL;
    if (error == 0)
        error = registry_take_port(hub, partition, card, &port, &answer->reason);
    if (error < 0 || port == NULL)
        return error;
    settings = port->settings;
    (void)words_take_settings(request->settings, &settings, &answer->reason);
    error = store_settings(registry, port, &settings, answer);
    if (error < 0 && is_new)
        hub_remove_port(port);
    return error;
}

static int delete_port(struct registry *registry, const struct request *request,
                       struct answer *answer)
{
    struct hub_port *port = NULL;
    int error = find_port(registry, request, &port, answer);

    if (error < 0)
        return error;
    port->used = false; /* for what is stored; its line goes only when that is done */
    error = store_save(registry, &answer->reason);
    port->used = true;
    if (error == 0)
        hub_remove_port(port);
    return error;
}

static struct acl *rules_of(const struct hub_port *port)
{
    return &port->hub->core.port[port->index].acl;
}

/* A rule that comes, or one that goes. */
struct rules_change {
    const struct acl_rule *add; /* NULL: remove */
    unsigned number;
};

static int change_rules(struct acl *rules, const struct rules_change *change, struct answer *answer)
{
    int error =
        change->add != NULL ? acl_add(rules, change->add) : acl_remove(rules, change->number);

    if (error == -ENOENT)
        return refuse(answer, error, "the port has no rule of that number");
    if (error == -ENOSPC)
        return refuse(answer, error, "the port has no room for more rules");
    return error < 0 ? refuse(answer, error, "the rule makes no sense") : 0;
}

/* What cannot be kept is undone: flows and counters too are as they were. */
static int store_rules(struct registry *registry, const struct hub_port *port,
                       const struct rules_change *change, struct answer *answer)
{
    struct acl *rules = rules_of(port);
    struct acl *before = malloc(sizeof(*before));

    if (before == NULL)
        return refuse(answer, -ENOMEM, "out of memory");
    *before = *rules;
    int error = change_rules(rules, change, answer);
    if (error == 0)
        error = store_save(registry, &answer->reason);
    if (error < 0)
        *rules = *before;
    free(before);
    return error;
}

static int add_rule(struct registry *registry, const struct request *request, struct answer *answer)
{
    struct hub_port *port = NULL;
    struct acl_rule rule;
    const struct rules_change change = {.add = &rule};
    int error = find_port(registry, request, &port, answer);

    if (error == 0)
        error = words_take_rule(request->rule, &rule, &answer->reason);
    return error < 0 ? error : store_rules(registry, port, &change, answer);
}

static int remove_rule(struct registry *registry, const struct request *request,
                       struct answer *answer)
{
    struct hub_port *port = NULL;
    const bool possible = request->number < ACL_RULES;
    const struct rules_change change = {.number = possible ? (unsigned)request->number : ACL_RULES};
    int error = find_port(registry, request, &port, answer);

    return error < 0 ? error : store_rules(registry, port, &change, answer);
}

static int list_rules(struct registry *registry, const struct request *request,
                      struct answer *answer)
{
    struct hub_port *port = NULL;
    int error = find_port(registry, request, &port, answer);

    if (error == 0)
        answer->result = report_rules(port);
    return error;
}

static const struct {
    const char *name;
    int (*perform)(struct registry *registry, const struct request *request, struct answer *answer);
} verbs[] = {
    {"create", create},
    {"set", set},
    {"delete", delete_switch},
    {"list", list},
    {"show", show},
    {"meters", meters},
    {"port", change_port},
    {"port-delete", delete_port},
    {"acl-add", add_rule},
    {"acl-remove", remove_rule},
    {"acl-list", list_rules},
};

static int perform(struct registry *registry, const struct request *request, struct answer *answer)
{
    for (size_t i = 0; request->verb != NULL && i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(verbs[i].name, request->verb) == 0)
            return verbs[i].perform(registry, request, answer);
    }
    return refuse(answer, -EINVAL, "that is no verb");
}

/* ---- lines ---- */

static int answer_line(struct registry *registry, const char *line, size_t length,
                       struct answer *answer)
{
    struct request request = {0};
    json_error_t error;
    json_t *object = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);

    if (object == NULL)
        return refuse(answer, -EINVAL, "not a line of JSON");
    int code = words_take(object, fields, &request, &answer->reason);
    if (code == 0)
        code = perform(registry, &request, answer);
    json_decref(object);
    return code;
}

static json_t *answer_json(struct answer *answer)
{
    if (answer->error < 0)
        return json_pack("{s:b, s:i, s:s}", "ok", 0, "error", answer->error, "reason",
                         answer->reason.text);
    json_t *object = json_pack("{s:b}", "ok", 1);
    if (answer->result != NULL)
        (void)json_object_set(object, "result", answer->result);
    return object;
}

char *orders_answer(struct registry *registry, const char *line, size_t length)
{
    struct answer answer = {0};

    answer.error = answer_line(registry, line, length, &answer);
    json_t *object = answer_json(&answer);
    auto_free char *text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
    char *ret = NULL;

    json_decref(object);
    json_decref(answer.result);
    return text != NULL && asprintf(&ret, "%s\n", text) >= 0 ? ret : NULL;
}
