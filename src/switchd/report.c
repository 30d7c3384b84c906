#include "switchd/report.h"

#include "switchd/notation.h"
#include "switchd/uplink.h"
#include "switchd/words.h"

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static const struct switch_port *core_of(const struct hub_port *port)
{
    return &port->hub->core.port[port->index];
}

/* ---- rules and meters ---- */

json_t *report_rules(const struct hub_port *port)
{
    const struct acl *acl = &core_of(port)->acl;
    json_t *array = json_array();

    for (unsigned i = 0; i < acl->count; i++) {
        const struct acl_rule *rule = &acl->rule[i];
        json_t *object = words_rule(rule);
        (void)json_object_set_new(object, "number", number(i));
        (void)json_object_set_new(object, "in_frames", number(rule->frames[0]));
        (void)json_object_set_new(object, "in_bytes", number(rule->bytes[0]));
        (void)json_object_set_new(object, "out_frames", number(rule->frames[1]));
        (void)json_object_set_new(object, "out_bytes", number(rule->bytes[1]));
        (void)json_array_append_new(array, object);
    }
    return array;
}

static json_t *peer_json(const struct hub_port *port, const struct meter_peer *peer,
                         const char *address)
{
    return json_pack("{s:o, s:s, s:o, s:o, s:o, s:o}", "port",
                     json_sprintf("%s:%u", port->partition, port->card), "remote", address,
                     "in_frames", number(peer->frames[0]), "in_bytes", number(peer->bytes[0]),
                     "out_frames", number(peer->frames[1]), "out_bytes", number(peer->bytes[1]));
}

static void add_peers(const struct hub_port *port, json_t *array)
{
    const struct meter *meter = &core_of(port)->meter;

    for (unsigned i = 0; i < meter->count; i++) {
        char address[NOTATION_PREFIX];
        notation_address(&meter->peer[i].address, address);
        (void)json_array_append_new(array, peer_json(port, &meter->peer[i], address));
    }
    if (meter->others.frames[0] != 0 || meter->others.frames[1] != 0)
        (void)json_array_append_new(array, peer_json(port, &meter->others, "others"));
}

json_t *report_meters(const struct hub *hub)
{
    json_t *array = json_array();

    for (unsigned i = 0; i < HUB_MOST_PORTS; i++) {
        if (hub->ports[i].used)
            add_peers(&hub->ports[i], array);
    }
    return array;
}

/* ---- a switch ---- */

static json_t *counters(const struct hub_port *port)
{
    const struct switch_port *core = core_of(port);
    json_t *object = json_object();
    json_t *dropped = json_object();

    for (unsigned i = SWITCH_PASSED + 1; i < SWITCH_REASONS; i++)
        (void)json_object_set_new(dropped, switch_reason_name(i), number(core->in_frames[i]));
    (void)json_object_set_new(dropped, "acl-in", number(core->denied_out));
    (void)json_object_set_new(dropped, "no-room", number(port->lost));
    (void)json_object_set_new(dropped, "unplugged", number(port->unplugged));
    (void)json_object_set_new(object, "from_frames", number(core->in_frames[SWITCH_PASSED]));
    (void)json_object_set_new(object, "from_bytes", number(core->in_bytes));
    (void)json_object_set_new(object, "to_frames", number(core->out_frames));
    (void)json_object_set_new(object, "to_bytes", number(core->out_bytes));
    (void)json_object_set_new(object, "dropped", dropped);
    return object;
}

static json_t *port_json(const struct hub_port *port)
{
    return json_pack(
        "{s:o, s:b, s:o, s:o, s:o}", "port", json_sprintf("%s:%u", port->partition, port->card),
        "connected", (int)(port->line != NULL && port->link), "settings",
        words_settings(&port->settings), "rules", report_rules(port), "counters", counters(port));
}

static json_t *head(const struct hub *hub, unsigned ports, unsigned connected)
{
    json_t *object = words_config(&hub->config);
    const struct hub_port *uplink = &hub->ports[HUB_UPLINK];
    char interface[IFNAMSIZ] = "";

    if (hub->config.kind == HUB_INTERNAL &&
        uplink_internal_name(&hub->config, interface, NULL) == 0)
        (void)json_object_set_new(object, "interface", json_string(interface));
    (void)json_object_set_new(object, "port_count", number(ports));
    (void)json_object_set_new(object, "connected_count", number(connected));
    (void)json_object_set_new(object, "uplink", json_boolean(uplink->line != NULL && uplink->link));
    return object;
}

static json_t *summary(const struct hub *hub)
{
    unsigned ports = 0;
    unsigned connected = 0;

    for (unsigned i = 0; i < HUB_MOST_PORTS; i++) {
        ports += hub->ports[i].used;
        connected += hub->ports[i].used && hub->ports[i].line != NULL && hub->ports[i].link;
    }
    return head(hub, ports, connected);
}

json_t *report_switch(const struct hub *hub)
{
    json_t *object = summary(hub);
    json_t *ports = json_array();

    for (unsigned i = 0; i < HUB_MOST_PORTS; i++) {
        if (hub->ports[i].used)
            (void)json_array_append_new(ports, port_json(&hub->ports[i]));
    }
    (void)json_object_set_new(object, "ports", ports);
    if (hub->core.port[HUB_UPLINK].present)
        (void)json_object_set_new(object, "uplink_counters", counters(&hub->ports[HUB_UPLINK]));
    return object;
}

json_t *report_list(const struct registry *registry)
{
    json_t *array = json_array();

    for (const struct hub *hub = registry->hubs; hub != NULL; hub = hub->next)
        (void)json_array_append_new(array, summary(hub));
    return array;
}
