/* Settings and rules of a port. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "switchd/notation.h"
#include "switchd/words.h"

enum {
    USUAL_IDLE_SECONDS = 300,
    MOST_IDLE_SECONDS = 86400,
    MOST_PORT = 65535,
    MOST_PROTOCOL = 255
};
static const uint64_t most_rate = UINT64_C(1000000000000);

static int take_number(const json_t *value, uint64_t least, uint64_t most, uint64_t *ret,
                       struct reason *reason)
{
    json_int_t number = json_integer_value(value);

    if (!json_is_integer(value) || number < (json_int_t)least || (uint64_t)number > most)
        return reason_set(reason, -EINVAL, "a number from %llu to %llu is wanted",
                          (unsigned long long)least, (unsigned long long)most);
    *ret = (uint64_t)number;
    return 0;
}

/* Which of `words`, NULL behind the last; -EINVAL. */
static int take_word(const json_t *value, const char *const *words, const char *wanted,
                     struct reason *reason)
{
    const char *text = json_string_value(value);

    for (int i = 0; text != NULL && words[i] != NULL; i++) {
        if (strcmp(words[i], text) == 0)
            return i;
    }
    return reason_set(reason, -EINVAL, "%s is wanted", wanted);
}

/* ---- settings ---- */

static int take_mac(json_t *value, void *to, struct reason *reason)
{
    struct port_settings *settings = to;
    const char *text = json_string_value(value);

    if (text == NULL || !notation_parse_mac(text, settings->core.mac) ||
        frame_is_multicast(settings->core.mac))
        return reason_set(reason, -EINVAL, "an address is wanted, as 00:15:5d:01:02:03");
    return 0;
}

static int take_vlan(json_t *value, void *to, struct reason *reason)
{
    struct port_settings *settings = to;
    uint64_t number = 0;
    int error = take_number(value, 0, FRAME_VLANS - 1, &number, reason);

    settings->core.vlan = (uint16_t)number;
    return error;
}

/* Empty: an access port. A set that cannot be written down again is not taken. */
static int take_trunk(json_t *value, void *to, struct reason *reason)
{
    struct port_settings *settings = to;
    const char *text = json_string_value(value);
    char again[NOTATION_VLANS];

    if (text == NULL || !notation_parse_vlans(text, settings->core.allowed))
        return reason_set(reason, -EINVAL, "VLANs are wanted, as 1-10,20");
    notation_vlans(settings->core.allowed, again);
    if (strstr(again, "...") != NULL)
        return reason_set(reason, -EINVAL, "these are too many ranges of VLANs");
    settings->core.trunk = text[0] != '\0';
    return 0;
}

static int take_bandwidth_max(json_t *value, void *to, struct reason *reason)
{
    return take_number(value, 0, most_rate, &((struct port_settings *)to)->bandwidth_max, reason);
}

static int take_weight(json_t *value, void *to, struct reason *reason)
{
    struct port_settings *settings = to;
    uint64_t number = 0;
    int error = take_number(value, 1, HUB_MOST_WEIGHT, &number, reason);

    settings->weight = (uint8_t)number;
    return error;
}

static int take_guard(json_t *value, void *to, struct reason *reason)
{
    static const char *const words[] = {"mac", "dhcp", "router", NULL};
    struct switch_port_config *core = &((struct port_settings *)to)->core;
    bool wanted[3] = {false, false, false};
    size_t index = 0;
    const json_t *item = NULL;

    if (!json_is_array(value))
        return reason_set(reason, -EINVAL, "guards are a list");
    json_array_foreach(value, index, item)
    {
        int which = take_word(item, words, "a guard: mac, dhcp or router", reason);
        if (which < 0)
            return which;
        wanted[which] = true;
    }
    core->may_spoof = !wanted[0];
    core->dhcp_guard = wanted[1];
    core->router_guard = wanted[2];
    return 0;
}

static int take_isolated(json_t *value, void *to, struct reason *reason)
{
    if (!json_is_boolean(value))
        return reason_set(reason, -EINVAL, "isolated is true or false");
    ((struct port_settings *)to)->core.isolated = json_is_true(value);
    return 0;
}

static const char *const mirror_words[] = {"none", "from", "to", NULL};

static int take_mirror(json_t *value, void *to, struct reason *reason)
{
    int which = take_word(value, mirror_words, "none, from or to", reason);

    if (which >= 0)
        ((struct port_settings *)to)->core.mirror = (enum switch_mirror)which;
    return which < 0 ? which : 0;
}

static int take_storm(json_t *value, void *to, struct reason *reason)
{
    enum { MOST_STORM = 100000000 };
    return take_number(value, 0, MOST_STORM, &((struct port_settings *)to)->core.storm_rate,
                       reason);
}

int words_take_settings(json_t *object, struct port_settings *ret, struct reason *reason)
{
    static const struct words_field fields[] = {
        {"mac", take_mac},
        {"vlan", take_vlan},
        {"trunk", take_trunk},
        {"bandwidth_max", take_bandwidth_max},
        {"bandwidth_weight", take_weight},
        {"guard", take_guard},
        {"isolated", take_isolated},
        {"mirror", take_mirror},
        {"storm", take_storm},
        {0},
    };
    return words_take(object, fields, ret, reason);
}

static json_t *guards(const struct switch_port_config *core)
{
    json_t *array = json_array();

    if (!core->may_spoof)
        (void)json_array_append_new(array, json_string("mac"));
    if (core->dhcp_guard)
        (void)json_array_append_new(array, json_string("dhcp"));
    if (core->router_guard)
        (void)json_array_append_new(array, json_string("router"));
    return array;
}

json_t *words_settings(const struct port_settings *settings)
{
    const struct switch_port_config *core = &settings->core;
    char mac[NOTATION_MAC];
    char trunk[NOTATION_VLANS] = "";

    notation_mac(core->mac, mac);
    if (core->trunk)
        notation_vlans(core->allowed, trunk);
    return json_pack("{s:s, s:i, s:s, s:I, s:i, s:o, s:b, s:s, s:I}", "mac", mac, "vlan",
                     (int)core->vlan, "trunk", trunk, "bandwidth_max",
                     (json_int_t)settings->bandwidth_max, "bandwidth_weight", (int)settings->weight,
                     "guard", guards(core), "isolated", (int)core->isolated, "mirror",
                     mirror_words[core->mirror], "storm", (json_int_t)core->storm_rate);
}

/* ---- rules ---- */

static const char *const action_words[] = {"allow", "deny", "meter", NULL};
static const char *const direction_words[] = {"in", "out", "both", NULL};

static int take_action(json_t *value, void *to, struct reason *reason)
{
    int which = take_word(value, action_words, "an action: allow, deny or meter", reason);

    if (which >= 0)
        ((struct acl_rule *)to)->action = (enum acl_action)which;
    return which < 0 ? which : 0;
}

static int take_direction(json_t *value, void *to, struct reason *reason)
{
    struct acl_rule *rule = to;
    int which = take_word(value, direction_words, "a direction: in, out or both", reason);

    rule->in = which == 0 || which == 2;
    rule->out = which == 1 || which == 2;
    return which < 0 ? which : 0;
}

static int take_remote(json_t *value, void *to, struct reason *reason)
{
    struct acl_rule *rule = to;
    const char *text = json_string_value(value);

    rule->has_mac = text != NULL && notation_parse_mac(text, rule->mac);
    if (rule->has_mac || (text != NULL && notation_parse_prefix(text, &rule->remote)))
        return 0;
    return reason_set(
        reason, -EINVAL,
        "remote: an address is wanted, as 10.0.0.0/8, fd00::/8, any or a MAC address");
}

static int take_local(json_t *value, void *to, struct reason *reason)
{
    struct acl_rule *rule = to;
    const char *text = json_string_value(value);

    if (text != NULL && notation_parse_prefix(text, &rule->local))
        return 0;
    return reason_set(reason, -EINVAL, "local: an address is wanted, as 10.0.0.0/8 or fd00::/8");
}

static const struct {
    const char *name;
    uint8_t number;
} protocols[] = {{"any", 0},
                 {"icmp", FRAME_ICMP},
                 {"tcp", FRAME_TCP},
                 {"udp", FRAME_UDP},
                 {"icmp6", FRAME_ICMP6}};
enum { PROTOCOLS = sizeof(protocols) / sizeof(protocols[0]) };

static int take_protocol(json_t *value, void *to, struct reason *reason)
{
    const char *text = json_string_value(value);
    char *end = NULL;

    for (unsigned i = 0; text != NULL && i < PROTOCOLS; i++) {
        if (strcmp(protocols[i].name, text) == 0) {
            ((struct acl_rule *)to)->protocol = protocols[i].number;
            return 0;
        }
    }
    unsigned long number = text != NULL ? strtoul(text, &end, 10) : 0;
    if (text == NULL || *text < '1' || *text > '9' || *end != '\0' || number > MOST_PROTOCOL)
        return reason_set(reason, -EINVAL, "a protocol is any, tcp, udp, icmp, icmp6 or a number");
    ((struct acl_rule *)to)->protocol = (uint8_t)number;
    return 0;
}

static int take_port(const json_t *value, uint16_t *ret, struct reason *reason)
{
    uint64_t number = 0;
    int error = take_number(value, 0, MOST_PORT, &number, reason);

    *ret = (uint16_t)number;
    return error;
}

static int take_local_port(json_t *value, void *to, struct reason *reason)
{
    return take_port(value, &((struct acl_rule *)to)->local_port, reason);
}

static int take_remote_port(json_t *value, void *to, struct reason *reason)
{
    return take_port(value, &((struct acl_rule *)to)->remote_port, reason);
}

static int take_rule_weight(json_t *value, void *to, struct reason *reason)
{
    return take_port(value, &((struct acl_rule *)to)->weight, reason);
}

static int take_stateful(json_t *value, void *to, struct reason *reason)
{
    if (!json_is_boolean(value))
        return reason_set(reason, -EINVAL, "stateful is true or false");
    ((struct acl_rule *)to)->stateful = json_is_true(value);
    return 0;
}

static int take_idle(json_t *value, void *to, struct reason *reason)
{
    uint64_t seconds = 0;
    int error = take_number(value, 1, MOST_IDLE_SECONDS, &seconds, reason);

    ((struct acl_rule *)to)->idle_ns = seconds * NS_PER_SECOND;
    return error;
}

int words_take_rule(json_t *object, struct acl_rule *ret, struct reason *reason)
{
    static const struct words_field fields[] = {
        {"action", take_action},
        {"direction", take_direction},
        {"remote", take_remote},
        {"local", take_local},
        {"protocol", take_protocol},
        {"local_port", take_local_port},
        {"remote_port", take_remote_port},
        {"weight", take_rule_weight},
        {"stateful", take_stateful},
        {"idle", take_idle},
        {0},
    };
    bool ports = false;

    *ret = (struct acl_rule){.idle_ns = (uint64_t)USUAL_IDLE_SECONDS * NS_PER_SECOND};
    int error = words_take(object, fields, ret, reason);
    if (error < 0)
        return error;
    ports = ret->local_port != 0 || ret->remote_port != 0;
    if (json_object_get(object, "action") == NULL)
        return reason_set(reason, -EINVAL, "a rule has an action: allow, deny or meter");
    if (!ret->in && !ret->out)
        return reason_set(reason, -EINVAL, "a rule has a direction: in, out or both");
    if (ret->stateful && ret->action != ACL_ALLOW)
        return reason_set(reason, -EINVAL, "only a rule that allows can be stateful");
    if (ports && ret->protocol != FRAME_TCP && ret->protocol != FRAME_UDP)
        return reason_set(reason, -EINVAL, "only tcp and udp have ports");
    return 0;
}

static json_t *protocol_word(uint8_t number)
{
    for (unsigned i = 0; i < PROTOCOLS; i++) {
        if (protocols[i].number == number)
            return json_string(protocols[i].name);
    }
    return json_sprintf("%u", (unsigned)number);
}

static const char *direction_word(const struct acl_rule *rule)
{
    if (rule->in && rule->out)
        return direction_words[2];
    return direction_words[rule->out];
}

json_t *words_rule(const struct acl_rule *rule)
{
    char remote[NOTATION_PREFIX];
    char local[NOTATION_PREFIX];

    notation_prefix(&rule->remote, remote);
    notation_prefix(&rule->local, local);
    if (rule->has_mac)
        notation_mac(rule->mac, remote);
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:i, s:i, s:i, s:b, s:I}", "action",
                     action_words[rule->action], "direction", direction_word(rule), "remote",
                     remote, "local", local, "protocol", protocol_word(rule->protocol),
                     "local_port", (int)rule->local_port, "remote_port", (int)rule->remote_port,
                     "weight", (int)rule->weight, "stateful", (int)rule->stateful, "idle",
                     (json_int_t)(rule->idle_ns / NS_PER_SECOND));
}
