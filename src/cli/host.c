/* partita host: what this machine offers to run guests, and what would be chosen. */
#include <jansson.h>
#include <string.h>

#include "cli/cli.h"
#include "engine/engine.h"

struct host_command {
    bool json, help;
};

enum { REPORT_COUNT = 2 };

struct host_facts {
    struct engine_report report[REPORT_COUNT];
    const char *chosen; /* NULL: none */
    struct reason why;
};

static int take_json(void *command, const char *value)
{
    (void)value;
    ((struct host_command *)command)->json = true;
    return 0;
}

static int take_help(void *command, const char *value)
{
    (void)value;
    ((struct host_command *)command)->help = true;
    return 0;
}

const struct cli_option host_options[] = {
    {"json", 'j', CLI_FLAG, NULL, NULL, "for programs: one JSON object", take_json},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void collect(struct host_facts *ret)
{
    *ret = (struct host_facts){0};
    engine_probe_kvm(&ret->report[0]);
    engine_probe_soft(&ret->report[1]);
    const struct engine_ops *chosen = engine_choose(ENGINE_CHOICE_AUTO, &ret->why);
    ret->chosen = chosen != NULL ? chosen->name : NULL;
}

/* ---- for people ---- */

static void print_speed(const struct engine_report *report, char *ret, size_t size)
{
    if (report->mips == 0)
        (void)snprintf(ret, size, "-");
    else if (report->mips < 10)
        (void)snprintf(ret, size, "%.1f MIPS", report->mips);
    else
        (void)snprintf(ret, size, "%.0f MIPS", report->mips);
}

static void print_engines(const struct host_facts *facts)
{
    char speed[32];

    (void)printf("%-8s %-8s %-12s %s\n", "ENGINE", "USABLE", "SPEED", "REASON");
    for (int i = 0; i < REPORT_COUNT; i++) {
        const struct engine_report *report = &facts->report[i];
        print_speed(report, speed, sizeof(speed));
        (void)printf("%-8s %-8s %-12s %s\n", report->name, report->usable ? "yes" : "no", speed,
                     report->reason.text);
    }
}

static void print_abilities(const struct engine_report *report)
{
    if (report->ability_count == 0)
        return;
    (void)printf("\n%-44s %-9s %s\n", report->name, "PRESENT", "NEEDED");
    for (size_t i = 0; i < report->ability_count; i++) {
        const struct engine_ability *ability = &report->ability[i];
        (void)printf("  %-42s %-9s %s\n", ability->name, ability->present ? "yes" : "no",
                     ability->required ? "yes" : "no");
    }
}

static int print_table(const struct host_facts *facts)
{
    print_engines(facts);
    if (facts->chosen != NULL)
        (void)printf("\nChosen:  %s (%s)\n", facts->chosen, facts->why.text);
    else
        (void)printf("\nChosen:  none (%s)\n", facts->why.text);
    for (int i = 0; i < REPORT_COUNT; i++)
        print_abilities(&facts->report[i]);
    return 0;
}

/* ---- for programs ---- */

static json_t *ability_object(const struct engine_ability *ability)
{
    return json_pack("{s:s, s:b, s:b}", "name", ability->name, "present", (int)ability->present,
                     "required", (int)ability->required);
}

static json_t *report_object(const struct engine_report *report)
{
    json_t *abilities = json_array();

    for (size_t i = 0; i < report->ability_count; i++)
        (void)json_array_append_new(abilities, ability_object(&report->ability[i]));
    return json_pack("{s:s, s:b, s:s, s:f, s:o}", "name", report->name, "usable",
                     (int)report->usable, "reason", report->reason.text, "mips", report->mips,
                     "abilities", abilities);
}

static int print_json(const struct host_facts *facts)
{
    json_t *engines = json_array();

    for (int i = 0; i < REPORT_COUNT; i++)
        (void)json_array_append_new(engines, report_object(&facts->report[i]));
    json_t *host = json_pack("{s:s?, s:s, s:o}", "chosen", facts->chosen, "reason", facts->why.text,
                             "engines", engines);
    if (host == NULL || json_dumpf(host, stdout, JSON_INDENT(2)) < 0) {
        cli_error("host: the JSON text cannot be written");
        json_decref(host);
        return 1;
    }
    (void)putchar('\n');
    json_decref(host);
    return 0;
}

static void print_help(void)
{
    (void)puts("Usage: partita host [OPTION]...\n"
               "Show the engines, what each can do here, and which one is chosen and why.\n");
    cli_print_options(stdout, host_options);
    (void)puts("\n"
               "Examples:\n"
               "  partita host\n"
               "  partita host --json | jq -r .chosen");
}

int host_main(int argc, char **argv)
{
    struct host_command host = {0};
    struct host_facts facts;

    int code = cli_parse(host_options, argc, argv, &host);
    if (code != 0)
        return code;
    if (host.help) {
        print_help();
        return 0;
    }
    collect(&facts);
    return host.json ? print_json(&facts) : print_table(&facts);
}
