/* partita disk check */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/disk/tool.h"

struct check {
    struct tool tool; /* its first member */
    bool repair, chain;
    json_t *found; /* NULL: lines */
    const char *path;
};

static int take_repair(void *command, const char *value)
{
    (void)value;
    ((struct check *)command)->repair = true;
    return 0;
}

static int take_chain(void *command, const char *value)
{
    (void)value;
    ((struct check *)command)->chain = true;
    return 0;
}

const struct cli_option disk_check_options[] = {
    {"repair", 'r', CLI_FLAG, NULL, NULL, "mend what can be mended without a loss", take_repair},
    {"chain", 'c', CLI_FLAG, NULL, NULL, "its parents too", take_chain},
    {"format", 'f', CLI_WORDS, "FORMAT", "raw vhd vhdx", "raw, vhd or vhdx; else the name tells",
     tool_take_format},
    TOOL_JSON,
    TOOL_QUIET,
    TOOL_HELP,
    {0},
};

static const char usage[] =
    "Usage: partita disk check FILE [OPTION]...\n"
    "Look at all structures of an image, and name each that is wrong with its offset.\n"
    "\n"
    "Exit codes: 0 sound (or mended), 1 damaged, 2 usage, 3 it cannot be looked at.\n"
    "\n"
    "Examples:\n"
    "  partita disk check data.vhdx\n"
    "  partita disk check data.vhdx --repair\n";

static const char *severity_name(enum image_severity severity)
{
    static const char *const names[] = {
        [IMAGE_NOTE] = "note", [IMAGE_DAMAGE] = "damage", [IMAGE_MENDED] = "mended"};
    return names[severity];
}

static void found(void *owner, enum image_severity severity, uint64_t offset, const char *text)
{
    struct check *check = owner;

    if (check->found != NULL)
        (void)json_array_append_new(check->found,
                                    json_pack("{s:s, s:s, s:I, s:s}", "path", check->path,
                                              "severity", severity_name(severity), "offset",
                                              (json_int_t)offset, "text", text));
    else if (severity != IMAGE_NOTE || !check->tool.quiet)
        (void)printf("%s: %s at %#" PRIx64 ": %s\n", check->path, severity_name(severity), offset,
                     text);
}

static int check_one(struct check *check, const char *path, struct image_check *sum)
{
    struct reason reason = {""};

    check->path = path;
    int error = image_check(&disk_host_files, path, tool_flags(&check->tool, 0), check->repair, sum,
                            &reason);
    return error < 0 ? tool_fail(&check->tool, error, &reason) : 0;
}

static int check_parents(struct check *check, struct image_check *sum)
{
    struct disk *top = NULL;
    int code = tool_open(&check->tool, check->tool.words[0], tool_flags(&check->tool, 0), &top);

    if (code != 0)
        return code;
    for (struct disk *disk = image_parent(top); code == 0 && disk != NULL;
         disk = image_parent(disk))
        code = check_one(check, image_path(disk), sum);
    return tool_close(&check->tool, check->tool.words[0], top, code);
}

static int print_sum(const struct check *check, const struct image_check *sum)
{
    if (check->found != NULL)
        return tool_print_json(
            &check->tool, json_pack("{s:I, s:I, s:I, s:O}", "damages", (json_int_t)sum->damages,
                                    "mended", (json_int_t)sum->mended, "notes",
                                    (json_int_t)sum->notes, "found", check->found));
    if (sum->damages != 0)
        (void)printf("%s: damaged, in %" PRIu64 " places\n", check->tool.words[0], sum->damages);
    else if (!check->tool.quiet)
        (void)printf("%s: sound\n", check->tool.words[0]);
    return 0;
}

int disk_check_main(int argc, char **argv)
{
    struct check check = {.tool = {.most_words = 1}};
    int code = tool_parse(&check.tool, disk_check_options, 1, usage, argc, argv);

    if (code != 0)
        return code < 0 ? 0 : code;
    struct image_check sum = {.found = found, .owner = &check};
    check.found = check.tool.json ? json_array() : NULL;
    code = check_one(&check, check.tool.words[0], &sum);
    if (code == 0 && check.chain && sum.damages == 0)
        code = check_parents(&check, &sum);
    if (code == 0)
        code = print_sum(&check, &sum);
    json_decref(check.found);
    return code == 0 && sum.damages != 0 ? CLI_EXIT_FAILED : code;
}
