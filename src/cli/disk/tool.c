/* Words, options, opening and printing, for all verbs alike. */
#include "cli/disk/tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/size.h"

int tool_take_json(void *command, const char *value)
{
    (void)value;
    ((struct tool *)command)->json = true;
    return 0;
}

int tool_take_quiet(void *command, const char *value)
{
    (void)value;
    ((struct tool *)command)->quiet = true;
    return 0;
}

int tool_take_help(void *command, const char *value)
{
    (void)value;
    ((struct tool *)command)->help = true;
    return 0;
}

int tool_take_format(void *command, const char *value)
{
    struct tool *tool = command;

    tool->has_format = true;
    if (image_format_parse(value, &tool->format))
        return 0;
    cli_error("%s: no format '%s'; there are raw, vhd and vhdx", tool->verb, value);
    return CLI_EXIT_USAGE;
}

static int take_word(void *command, const char *word)
{
    struct tool *tool = command;

    if (tool->word_count == tool->most_words) {
        cli_error("%s: '%s' is one word too many; try 'partita %s --help'", tool->verb, word,
                  tool->verb);
        return CLI_EXIT_USAGE;
    }
    tool->words[tool->word_count++] = word;
    return 0;
}

int tool_parse(struct tool *tool, const struct cli_option *options, unsigned least,
               const char *usage, int argc, char **argv)
{
    tool->verb = argv[0];
    int code = cli_parse_words(options, argc, argv, tool, take_word);

    if (code != 0)
        return code;
    if (tool->help) {
        (void)fputs(usage, stdout);
        (void)fputs("\nOptions:\n", stdout);
        cli_print_options(stdout, options);
        return -1;
    }
    if (tool->word_count < least) {
        const char *images = least == 1 ? "an image is wanted" : "two files are wanted";
        cli_error("%s: %s; try 'partita %s --help'", tool->verb,
                  tool->wanted != NULL ? tool->wanted : images, tool->verb);
        return CLI_EXIT_USAGE;
    }
    return 0;
}

unsigned tool_flags(const struct tool *tool, unsigned flags)
{
    static const unsigned formats[IMAGE_FORMATS] = {
        [IMAGE_RAW] = DISK_AS_RAW, [IMAGE_VHD] = DISK_AS_VHD, [IMAGE_VHDX] = DISK_AS_VHDX};

    return tool->has_format ? flags | formats[tool->format] : flags;
}

int tool_target_format(const struct tool *tool, const char *path, enum image_format *ret)
{
    *ret = tool->has_format ? tool->format : image_format_of(path);
    if (tool->has_format || image_foreign_of(path) == NULL)
        return 0;
    cli_error("%s: %s: raw, VHD and VHDX are written, no %s; 'qemu-img convert' makes one of a raw "
              "image",
              tool->verb, path, image_foreign_of(path));
    return CLI_EXIT_USAGE;
}

int tool_fail(const struct tool *tool, int error, const struct reason *reason)
{
    if (error == -ECANCELED) {
        cli_error("%s: interrupted", tool->verb);
        return TOOL_EXIT_INTERRUPTED;
    }
    cli_error("%s: %s", tool->verb,
              reason != NULL && reason->text[0] != '\0' ? reason->text : strerrordesc_np(-error));
    return CLI_EXIT_FILE;
}

int tool_open(const struct tool *tool, const char *path, unsigned flags, struct disk **ret)
{
    struct reason reason = {""};
    int error = disk_open(path, flags, ret, &reason);

    return error < 0 ? tool_fail(tool, error, &reason) : 0;
}

int tool_open_shared(const struct tool *tool, const char *path, struct disk **ret, bool *ret_in_use)
{
    struct reason reason = {""};
    unsigned flags = tool_flags(tool, 0);
    int error = disk_open(path, flags, ret, &reason);

    *ret_in_use = error == -EBUSY;
    if (error == -EBUSY)
        error = disk_open(path, flags | DISK_NO_LOCK, ret, &reason);
    return error < 0 ? tool_fail(tool, error, &reason) : 0;
}

int tool_close(const struct tool *tool, const char *path, struct disk *disk, int code)
{
    int error = disk_close(disk);

    if (error == 0 || code != 0)
        return code;
    cli_error("%s: %s: what was written last may be lost: %s", tool->verb, path,
              strerrordesc_np(-error));
    return CLI_EXIT_FILE;
}

int tool_print_json(const struct tool *tool, json_t *value)
{
    int failed = value == NULL || json_dumpf(value, stdout, JSON_INDENT(2)) < 0;

    json_decref(value);
    if (failed) {
        cli_error("%s: the JSON text cannot be written", tool->verb);
        return CLI_EXIT_FAILED;
    }
    (void)putchar('\n');
    return 0;
}

const char *tool_kind_name(enum image_kind kind)
{
    static const char *const names[] = {
        [IMAGE_FIXED] = "fixed",
        [IMAGE_DYNAMIC] = "dynamic",
        [IMAGE_DIFFERENCING] = "differencing",
    };
    return names[kind];
}

void tool_print_size(const char *name, uint64_t bytes)
{
    (void)printf("%-18s%s (%" PRIu64 " bytes)\n", name, size_text(bytes).text, bytes);
}
