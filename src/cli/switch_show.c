/* partita switch list, show, meters and statistics. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "cli/rate.h"
#include "cli/switch.h"

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL && *text != '\0' ? text : "-";
}

static long long number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* Shared by all of them: their options, their words, one question. */
static const char usage_list[] = "Usage: partita switch list [--json]\nShow all switches.\n";
static const char usage_show[] =
    "Usage: partita switch show NAME [--json]\nShow a switch, and the settings of its ports.\n";
static const char usage_meters[] = "Usage: partita switch meters NAME [--json]\n"
                                   "Show with whom guests exchange how much.\n";
static const char usage_statistics[] = "Usage: partita switch statistics NAME [--json]\n"
                                       "Show frames that passed, and why others did not.\n";

#define OPTIONS(name)                                                                   \
    const struct cli_option switch_##name##_options[] = {                               \
        {"json", 'j', CLI_FLAG, NULL, NULL, "for programs: as JSON", switch_take_json}, \
        {"help", 'h', CLI_FLAG, NULL, NULL, "this text", switch_take_help},             \
        {0},                                                                            \
    }
OPTIONS(list);
OPTIONS(show);
OPTIONS(meters);
OPTIONS(statistics);

struct view {
    const char *verb; /* "switch list" */
    const char *question;
    unsigned words;
    const char *help;
    const struct cli_option *options;
    void (*print)(const json_t *result);
};

static int show(const struct view *view, int argc, char **argv)
{
    struct switch_command command = {.verb = view->verb, .usage = "NAME", .most = view->words};
    json_t *result = NULL;
    int code = switch_parse(&command, view->options, argc, argv, view->words);

    json_decref(command.object);
    if (code == 0 && command.help)
        switch_print_help(view->help, view->options);
    if (code != 0 || command.help)
        return code;
    json_t *request = json_pack("{s:s}", "verb", view->question);
    if (view->words > 0)
        (void)json_object_set_new(request, "switch", json_string(command.words.words[0]));
    code = switch_ask(&command, request, &result);
    if (code != 0)
        return code;
    if (command.json)
        return order_print_json(view->verb, result);
    view->print(result);
    json_decref(result);
    return 0;
}

/* ---- list ---- */

static void print_list(const json_t *array)
{
    size_t index = 0;
    const json_t *item = NULL;

    (void)printf("%-20s %-10s %-16s %5s %9s\n", "NAME", "KIND", "INTERFACE", "PORTS", "CONNECTED");
    json_array_foreach(array, index, item)
    {
        (void)printf("%-20s %-10s %-16s %5lld %9lld\n", text_of(item, "name"),
                     text_of(item, "kind"), text_of(item, "interface"),
                     number_of(item, "port_count"), number_of(item, "connected_count"));
    }
}

int switch_list_main(int argc, char **argv)
{
    static const struct view view = {"switch list",       "list",    0, usage_list,
                                     switch_list_options, print_list};
    return show(&view, argc, argv);
}

/* ---- show ---- */

static void print_vlan(const json_t *settings)
{
    const char *trunk = text_of(settings, "trunk");
    long long vlan = number_of(settings, "vlan");

    if (strcmp(trunk, "-") != 0)
        (void)printf("  vlan       trunk %s, native %lld\n", trunk, vlan);
    else if (vlan != 0)
        (void)printf("  vlan       access %lld\n", vlan);
}

static void print_guards(const json_t *settings)
{
    size_t index = 0;
    const json_t *item = NULL;

    (void)printf("  guard     ");
    json_array_foreach(json_object_get(settings, "guard"), index, item)
    {
        (void)printf(" %s", json_string_value(item));
    }
    (void)puts(json_array_size(json_object_get(settings, "guard")) == 0 ? " none" : "");
}

static void print_settings(const json_t *settings)
{
    char rate[RATE_SIZE];

    (void)printf("  address    %s\n", text_of(settings, "mac"));
    print_vlan(settings);
    print_guards(settings);
    rate_print((uint64_t)number_of(settings, "bandwidth_max"), rate);
    if (number_of(settings, "bandwidth_max") != 0)
        (void)printf("  at most    %s bit/s\n", rate);
    (void)printf("  weight     %lld\n", number_of(settings, "bandwidth_weight"));
    if (json_is_true(json_object_get(settings, "isolated")))
        (void)puts("  isolated   yes");
    if (strcmp(text_of(settings, "mirror"), "none") != 0)
        (void)printf("  mirror     %s\n", text_of(settings, "mirror"));
    if (number_of(settings, "storm") != 0)
        (void)printf("  storm      %lld frames a second\n", number_of(settings, "storm"));
}

static void print_switch(const json_t *object)
{
    size_t index = 0;
    const json_t *port = NULL;
    char rate[RATE_SIZE];

    (void)printf("switch       %s\nkind         %s\n", text_of(object, "name"),
                 text_of(object, "kind"));
    if (strcmp(text_of(object, "kind"), "private") != 0)
        (void)printf("interface    %s\nuplink       %s\n", text_of(object, "interface"),
                     json_is_true(json_object_get(object, "uplink")) ? "up" : "down");
    rate_print((uint64_t)number_of(object, "uplink_rate"), rate);
    if (number_of(object, "uplink_rate") != 0)
        (void)printf("uplink rate  %s bit/s\n", rate);
    json_array_foreach(json_object_get(object, "ports"), index, port)
    {
        bool connected = json_is_true(json_object_get(port, "connected"));
        (void)printf("\nport %s, %s, %zu rules\n", text_of(port, "port"),
                     connected ? "connected" : "not connected",
                     json_array_size(json_object_get(port, "rules")));
        print_settings(json_object_get(port, "settings"));
    }
}

int switch_show_main(int argc, char **argv)
{
    static const struct view view = {"switch show",       "show",      1, usage_show,
                                     switch_show_options, print_switch};
    return show(&view, argc, argv);
}

/* ---- meters ---- */

static void print_meters(const json_t *array)
{
    size_t index = 0;
    const json_t *item = NULL;

    (void)printf("%-20s %-40s %12s %16s %12s %16s\n", "PORT", "REMOTE", "IN", "IN BYTES", "OUT",
                 "OUT BYTES");
    json_array_foreach(array, index, item)
    {
        (void)printf("%-20s %-40s %12lld %16lld %12lld %16lld\n", text_of(item, "port"),
                     text_of(item, "remote"), number_of(item, "in_frames"),
                     number_of(item, "in_bytes"), number_of(item, "out_frames"),
                     number_of(item, "out_bytes"));
    }
}

int switch_meters_main(int argc, char **argv)
{
    static const struct view view = {"switch meters",       "meters",    1, usage_meters,
                                     switch_meters_options, print_meters};
    return show(&view, argc, argv);
}

/* ---- statistics ---- */

static void print_counters(const char *port, json_t *counters)
{
    const char *key = NULL;
    json_t *value = NULL;

    (void)printf("%-20s %12lld %16lld %12lld %16lld ", port, number_of(counters, "from_frames"),
                 number_of(counters, "from_bytes"), number_of(counters, "to_frames"),
                 number_of(counters, "to_bytes"));
    json_object_foreach(json_object_get(counters, "dropped"), key, value)
    {
        if (json_integer_value(value) != 0)
            (void)printf(" %s %lld", key, (long long)json_integer_value(value));
    }
    (void)putchar('\n');
}

static void print_statistics(const json_t *object)
{
    size_t index = 0;
    const json_t *port = NULL;
    json_t *uplink = json_object_get(object, "uplink_counters");

    (void)printf("%-20s %12s %16s %12s %16s  %s\n", "PORT", "FROM", "FROM BYTES", "TO", "TO BYTES",
                 "DROPPED");
    json_array_foreach(json_object_get(object, "ports"), index, port)
    {
        print_counters(text_of(port, "port"), json_object_get(port, "counters"));
    }
    if (uplink != NULL)
        print_counters("(uplink)", uplink);
}

int switch_statistics_main(int argc, char **argv)
{
    static const struct view view = {
        "switch statistics",       "show",          1, usage_statistics,
        switch_statistics_options, print_statistics};
    return show(&view, argc, argv);
}

/* ---- rules ---- */

enum { PORT_SIZE = 8 };

static const char *port_of(const json_t *rule, const char *key, char ret[PORT_SIZE])
{
    (void)snprintf(ret, PORT_SIZE, "%u", (unsigned)number_of(rule, key) % (UINT16_MAX + 1));
    return number_of(rule, key) != 0 ? ret : "-";
}

/* Ports have columns of their own: addresses of IPv6 and of cards have colons themselves. */
static void print_rule(const json_t *rule)
{
    char remote[PORT_SIZE];
    char local[PORT_SIZE];

    (void)printf("%6lld %-6s %-5s %-20s %-5s %-20s %-5s %-8s %6lld %s %lld/%lld\n",
                 number_of(rule, "number"), text_of(rule, "action"), text_of(rule, "direction"),
                 text_of(rule, "remote"), port_of(rule, "remote_port", remote),
                 text_of(rule, "local"), port_of(rule, "local_port", local),
                 text_of(rule, "protocol"), number_of(rule, "weight"),
                 json_is_true(json_object_get(rule, "stateful")) ? "stateful" : "-       ",
                 number_of(rule, "in_frames"), number_of(rule, "out_frames"));
}

int switch_print_rules(const struct switch_command *command, json_t *rules)
{
    size_t index = 0;
    const json_t *rule = NULL;

    if (command->json)
        return order_print_json(command->verb, rules);
    (void)printf("%6s %-6s %-5s %-20s %-5s %-20s %-5s %-8s %6s %-8s %s\n", "NUMBER", "ACTION",
                 "WAY", "REMOTE", "PORT", "LOCAL", "PORT", "PROTOCOL", "WEIGHT", "STATE", "IN/OUT");
    json_array_foreach(rules, index, rule)
    {
        print_rule(rule);
    }
    json_decref(rules);
    return 0;
}
