/* partita switch create, delete, port and acl. */
#include <stdlib.h>
#include <string.h>

#include "cli/rate.h"
#include "cli/switch.h"

/* ---- values of options ---- */

static int set_text(void *command, const char *key, const char *value)
{
    struct switch_command *own = command;

    if (json_object_set_new(own->object, key, json_string(value)) == 0)
        return 0;
    cli_error("%s: %s is not UTF-8", own->verb, key);
    return CLI_EXIT_USAGE;
}

static int set_number(void *command, const char *key, const char *value)
{
    struct switch_command *own = command;
    char *end = NULL;
    long long number = strtoll(value, &end, 10);

    if (*value >= '0' && *value <= '9' && *end == '\0' &&
        json_object_set_new(own->object, key, json_integer(number)) == 0)
        return 0;
    cli_error("%s: '%s': a number is wanted", own->verb, value);
    return CLI_EXIT_USAGE;
}

static int set_rate(void *command, const char *key, const char *value)
{
    struct switch_command *own = command;
    uint64_t rate = 0;

    if (rate_parse(value, &rate) &&
        json_object_set_new(own->object, key, json_integer((json_int_t)rate)) == 0)
        return 0;
    cli_error("%s: '%s': bits a second are wanted, as 100M or 1.5G", own->verb, value);
    return CLI_EXIT_USAGE;
}

static int add_text(void *command, const char *key, const char *value)
{
    struct switch_command *own = command;

    if (json_object_get(own->object, key) == NULL)
        (void)json_object_set_new(own->object, key, json_array());
    return json_array_append_new(json_object_get(own->object, key), json_string(value)) == 0
               ? 0
               : CLI_EXIT_USAGE;
}

#define TAKES(name, set, key)                                \
    static int take_##name(void *command, const char *value) \
    {                                                        \
        return set(command, key, value);                     \
    }
TAKES(kind, set_text, "kind")
TAKES(interface, set_text, "interface")
TAKES(uplink_rate, set_rate, "uplink_rate")
TAKES(forward, add_text, "forwards")
TAKES(mac, set_text, "mac")
TAKES(native, set_number, "vlan")
TAKES(bandwidth_max, set_rate, "bandwidth_max")
TAKES(bandwidth_weight, set_number, "bandwidth_weight")
TAKES(mirror, set_text, "mirror")
TAKES(storm, set_number, "storm")
TAKES(direction, set_text, "direction")
TAKES(remote, set_text, "remote")
TAKES(local, set_text, "local")
TAKES(action, set_text, "action")
TAKES(protocol, set_text, "protocol")
TAKES(local_port, set_number, "local_port")
TAKES(remote_port, set_number, "remote_port")
TAKES(weight, set_number, "weight")
TAKES(idle, set_number, "idle")

/* An access port is one that is no trunk. */
static int take_vlan(void *command, const char *value)
{
    (void)set_text(command, "trunk", "");
    return set_number(command, "vlan", strcmp(value, "none") == 0 ? "0" : value);
}

/* Frames without a tag have VLAN 0 unless --native says another. */
static int take_trunk(void *command, const char *value)
{
    const struct switch_command *own = command;

    if (json_object_get(own->object, "vlan") == NULL)
        (void)set_number(command, "vlan", "0");
    return set_text(command, "trunk", value);
}

static int take_guard(void *command, const char *value)
{
    struct switch_command *own = command;
    char *words = strdup(value);
    char *rest = words;

    (void)json_object_set_new(own->object, "guard", json_array());
    while (rest != NULL && strcmp(value, "none") != 0)
        (void)add_text(command, "guard", strsep(&rest, ","));
    free(words);
    return 0;
}

static int set_flag(void *command, const char *key, const char *value)
{
    struct switch_command *own = command;

    if (value != NULL && strcmp(value, "on") != 0 && strcmp(value, "off") != 0) {
        cli_error("%s: '%s': on or off is wanted", own->verb, value);
        return CLI_EXIT_USAGE;
    }
    (void)json_object_set_new(own->object, key,
                              json_boolean(value == NULL || strcmp(value, "on") == 0));
    return 0;
}
TAKES(isolate, set_flag, "isolated")
TAKES(stateful, set_flag, "stateful")

static int take_force(void *command, const char *value)
{
    (void)value;
    ((struct switch_command *)command)->force = true;
    return 0;
}

static int take_delete(void *command, const char *value)
{
    (void)value;
    ((struct switch_command *)command)->remove = true;
    return 0;
}

/* ---- create and delete ---- */

const struct cli_option switch_create_options[] = {
    {"kind", 'k', CLI_WORDS, "KIND", "private internal external nat",
     "private, internal, external or nat (default private)", take_kind},
    {"interface", 'i', CLI_TEXT, "NAME", NULL, "external: of the host; internal: its TAP device",
     take_interface},
    {"uplink-rate", 0, CLI_TEXT, "RATE", NULL, "bits a second to the uplink, shared by weight",
     take_uplink_rate},
    {"forward", 'f', CLI_TEXT, "WORD", NULL,
     "nat: tcp:2222:ADDRESS:22, as 10.0.2.15; may be repeated", take_forward},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", switch_take_help},
    {0},
};

int switch_create_main(int argc, char **argv)
{
    struct switch_command command = {.verb = "switch create", .usage = "NAME", .most = 1};
    int code = switch_parse(&command, switch_create_options, argc, argv, 1);

    if (code == 0 && command.help)
        switch_print_help(
            "Usage: partita switch create NAME [OPTION]...\n"
            "Make a switch. private: guests among themselves; internal: and this host;\n"
            "external: and a network of this host; nat: and what this host reaches.\n",
            switch_create_options);
    if (code != 0 || command.help) {
        json_decref(command.object);
        return code;
    }
    (void)json_object_set_new(command.object, "name", json_string(command.words.words[0]));
    return switch_tell(&command,
                       json_pack("{s:s, s:o}", "verb", "create", "config", command.object));
}

const struct cli_option switch_set_options[] = {
    {"uplink-rate", 0, CLI_TEXT, "RATE", NULL, "bits a second to the uplink, shared by weight",
     take_uplink_rate},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", switch_take_help},
    {0},
};

int switch_set_main(int argc, char **argv)
{
    struct switch_command command = {.verb = "switch set", .usage = "NAME", .most = 1};
    int code = switch_parse(&command, switch_set_options, argc, argv, 1);

    if (code == 0 && command.help)
        switch_print_help("Usage: partita switch set NAME --uplink-rate RATE\n"
                          "Change a switch that is there.\n",
                          switch_set_options);
    if (code != 0 || command.help) {
        json_decref(command.object);
        return code;
    }
    return switch_tell(&command, json_pack("{s:s, s:s, s:o}", "verb", "set", "switch",
                                           command.words.words[0], "config", command.object));
}

const struct cli_option switch_delete_options[] = {
    {"force", 'f', CLI_FLAG, NULL, NULL, "also while guests are connected", take_force},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", switch_take_help},
    {0},
};

int switch_delete_main(int argc, char **argv)
{
    struct switch_command command = {.verb = "switch delete", .usage = "NAME", .most = 1};
    int code = switch_parse(&command, switch_delete_options, argc, argv, 1);

    json_decref(command.object);
    if (code == 0 && command.help)
        switch_print_help("Usage: partita switch delete NAME [--force]\n"
                          "Delete a switch with its ports and their settings.\n",
                          switch_delete_options);
    if (code != 0 || command.help)
        return code;
    return switch_tell(&command, json_pack("{s:s, s:s, s:b}", "verb", "delete", "switch",
                                           command.words.words[0], "force", (int)command.force));
}

/* ---- port ---- */

const struct cli_option switch_port_options[] = {
    {"vlan", 0, CLI_TEXT, "N", NULL, "access port of this VLAN, or none", take_vlan},
    {"trunk", 0, CLI_TEXT, "LIST", NULL, "frames with tags of these VLANs, as 1-10,20 or all",
     take_trunk},
    {"native", 0, CLI_TEXT, "N", NULL, "trunk: VLAN of frames without a tag", take_native},
    {"bandwidth-max", 0, CLI_TEXT, "RATE", NULL, "bits a second that the guest may send; 0: any",
     take_bandwidth_max},
    {"bandwidth-weight", 0, CLI_TEXT, "N", NULL, "share of the uplink, 1 to 100 (default 50)",
     take_bandwidth_weight},
    {"guard", 0, CLI_WORDS, "LIST", "mac dhcp router none",
     "mac, dhcp, router with commas, or none (default mac)", take_guard},
    {"isolate", 0, CLI_WORDS, "on|off", "on off", "nothing passes between isolated ports",
     take_isolate},
    {"mirror", 0, CLI_WORDS, "WAY", "from to none", "from: it is copied; to: it gets the copies",
     take_mirror},
    {"storm", 0, CLI_TEXT, "N", NULL, "frames a second to all or to unknown places; 0: any",
     take_storm},
    {"mac", 0, CLI_TEXT, "ADDRESS", NULL, "the card's address, while it is not connected",
     take_mac},
    {"delete", 0, CLI_FLAG, NULL, NULL, "delete the port and its settings", take_delete},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", switch_take_help},
    {0},
};

static int tell_port(struct switch_command *command)
{
    const char *const *words = command->words.words;

    if (!command->remove)
        return switch_tell(command,
                           json_pack("{s:s, s:s, s:s, s:o}", "verb", "port", "switch", words[0],
                                     "port", words[1], "settings", command->object));
    json_decref(command->object);
    return switch_tell(command, json_pack("{s:s, s:s, s:s}", "verb", "port-delete", "switch",
                                          words[0], "port", words[1]));
}

int switch_port_main(int argc, char **argv)
{
    struct switch_command command = {
        .verb = "switch port", .usage = "NAME PARTITION[:CARD]", .most = 2};
    int code = switch_parse(&command, switch_port_options, argc, argv, 2);

    if (code == 0 && command.help)
        switch_print_help(
            "Usage: partita switch port NAME PARTITION[:CARD] [OPTION]...\n"
            "Settings of the port that a card of a partition has. They last, and may be\n"
            "given before the partition runs.\n",
            switch_port_options);
    if (code != 0 || command.help) {
        json_decref(command.object);
        return code;
    }
    return tell_port(&command);
}

/* ---- acl ---- */

const struct cli_option switch_acl_options[] = {
    {"action", 'a', CLI_WORDS, "ACTION", "allow deny meter", "allow, deny or meter", take_action},
    {"direction", 'd', CLI_WORDS, "WAY", "in out both", "to the guest, from it, or both",
     take_direction},
    {"remote", 'r', CLI_TEXT, "ADDRESS", NULL,
     "the peer: 10.0.0.0/8, fd00::/8, any or a MAC address", take_remote},
    {"local", 'l', CLI_TEXT, "ADDRESS", NULL, "the guest's own address", take_local},
    {"protocol", 'p', CLI_WORDS, "NAME", "any tcp udp icmp icmp6",
     "tcp, udp, icmp, icmp6 or a number", take_protocol},
    {"local-port", 0, CLI_TEXT, "N", NULL, "the guest's own port", take_local_port},
    {"remote-port", 0, CLI_TEXT, "N", NULL, "the peer's port", take_remote_port},
    {"weight", 'w', CLI_TEXT, "N", NULL, "the greatest of those that match decides (default 0)",
     take_weight},
    {"stateful", 's', CLI_FLAG, NULL, NULL, "answers of what is allowed pass too", take_stateful},
    {"idle", 0, CLI_TEXT, "SECONDS", NULL, "stateful: for how long (default 300)", take_idle},
    {"json", 'j', CLI_FLAG, NULL, NULL, "for programs: list as JSON", switch_take_json},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", switch_take_help},
    {0},
};

static int acl_list(const struct switch_command *command)
{
    json_t *rules = NULL;
    int code = switch_ask(command,
                          json_pack("{s:s, s:s, s:s}", "verb", "acl-list", "switch",
                                    command->words.words[0], "port", command->words.words[1]),
                          &rules);

    return code != 0 ? code : switch_print_rules(command, rules);
}

static int acl_add(const struct switch_command *command)
{
    return switch_tell(command, json_pack("{s:s, s:s, s:s, s:O}", "verb", "acl-add", "switch",
                                          command->words.words[0], "port", command->words.words[1],
                                          "rule", command->object));
}

static int acl_remove(const struct switch_command *command)
{
    const char *number = command->words.words[3];
    char *end = NULL;
    unsigned long value = number != NULL ? strtoul(number, &end, 10) : 0;

    if (number == NULL || *number < '0' || *number > '9' || *end != '\0') {
        cli_error("%s: the number of a rule is wanted, as list shows it", command->verb);
        return CLI_EXIT_USAGE;
    }
    return switch_tell(command, json_pack("{s:s, s:s, s:s, s:I}", "verb", "acl-remove", "switch",
                                          command->words.words[0], "port", command->words.words[1],
                                          "number", (json_int_t)value));
}

static int acl(const struct switch_command *command)
{
    const char *verb = command->words.words[2];

    if (strcmp(verb, "list") == 0)
        return acl_list(command);
    if (strcmp(verb, "add") == 0)
        return acl_add(command);
    if (strcmp(verb, "remove") == 0)
        return acl_remove(command);
    cli_error("%s: '%s': add, remove or list is wanted", command->verb, verb);
    return CLI_EXIT_USAGE;
}

int switch_acl_main(int argc, char **argv)
{
    struct switch_command command = {
        .verb = "switch acl", .usage = "NAME PORT add|remove|list", .most = 4};
    int code = switch_parse(&command, switch_acl_options, argc, argv, 3);

    if (code == 0 && command.help)
        switch_print_help(
            "Usage: partita switch acl NAME PARTITION[:CARD] add -a ACTION -d WAY [OPTION]...\n"
            "       partita switch acl NAME PARTITION[:CARD] remove NUMBER\n"
            "       partita switch acl NAME PARTITION[:CARD] list [--json]\n"
            "Rules of a port. Of those that match, the greatest weight decides, then the\n"
            "longest prefix, then deny; when none does, the frame passes.\n",
            switch_acl_options);
    if (code == 0 && !command.help)
        code = acl(&command);
    json_decref(command.object);
    return code;
}
