/* What the verbs of `partita disk` share. */
#ifndef CLI_DISK_TOOL_H
#define CLI_DISK_TOOL_H

#include <jansson.h>
#include <stdint.h>

#include "cli/cli.h"
#include "disk/image.h"

enum { TOOL_MOST_WORDS = 2 };

/* What a verb was given; each verb's own struct begins with it. */
struct tool {
    const char *verb; /* "disk info" */
    const char *words[TOOL_MOST_WORDS];
    unsigned word_count, most_words;
    const char *wanted; /* said when there are too few; NULL: images are wanted */
    bool json, quiet, help;
    enum image_format format; /* of the word's file, when has_format */
    bool has_format;
};

/* For tables of options. */
int tool_take_json(void *command, const char *value);
int tool_take_quiet(void *command, const char *value);
int tool_take_help(void *command, const char *value);
int tool_take_format(void *command, const char *value);
#define TOOL_JSON                                                               \
    {                                                                           \
        "json", 'j', CLI_FLAG, NULL, NULL, "for programs: JSON", tool_take_json \
    }
#define TOOL_QUIET                                                                     \
    {                                                                                  \
        "quiet", 'q', CLI_FLAG, NULL, NULL, "no progress, no summary", tool_take_quiet \
    }
#define TOOL_HELP                                                      \
    {                                                                  \
        "help", 'h', CLI_FLAG, NULL, NULL, "this text", tool_take_help \
    }

/*
 * Parse; then from `least` words on up to tool->most_words are there. 0; an exit code after one
 * line; or -1: the help was printed.
 */
int tool_parse(struct tool *tool, const struct cli_option *options, unsigned least,
               const char *usage, int argc, char **argv);

/* Flags for disk_open: what --format says, and those of the caller. */
unsigned tool_flags(const struct tool *tool, unsigned flags);
/* What --format says, else the name; an exit code after one line when that is another's format. */
int tool_target_format(const struct tool *tool, const char *path, enum image_format *ret);
/* 0, or an exit code after one line. */
int tool_open(const struct tool *tool, const char *path, unsigned flags, struct disk **ret);
/* The same of an image that a running guest may have; `*ret_in_use` tells. */
int tool_open_shared(const struct tool *tool, const char *path, struct disk **ret,
                     bool *ret_in_use);
int tool_close(const struct tool *tool, const char *path, struct disk *disk, int code);
/* One line; CLI_EXIT_FILE, or 130 when the work was interrupted. */
int tool_fail(const struct tool *tool, int error, const struct reason *reason);
/* Takes the value. */
int tool_print_json(const struct tool *tool, json_t *value);
const char *tool_kind_name(enum image_kind kind);

/* Sizes with digits after the unit, as "32M": a line of an info. */
void tool_print_size(const char *name, uint64_t bytes);

/* ---- progress and interruption ---- */

enum { TOOL_EXIT_INTERRUPTED = 130 };

struct progress {
    const char *what; /* "convert" */
    bool quiet, terminal, shown;
    uint64_t started_ns, last_ns;
};

/* From now on Ctrl-C and SIGTERM end the work in order: progress_step returns -ECANCELED. */
void progress_catch_signals(void);
void progress_start(struct progress *progress, const struct tool *tool, const char *what);
/* A disk_progress_fn; the owner is a struct progress. */
int progress_step(void *owner, uint64_t done, uint64_t total);
void progress_end(struct progress *progress);

/* ---- a file that is there when it is whole ---- */

struct new_file { /* all zero but for path and replace */
    const char *path;
    char *temporary;  /* beside it */
    char *resolved;   /* the file that is replaced, when the path is a link; else NULL */
    struct file *old; /* it is locked until then; NULL: there is none */
    unsigned mode;    /* its own; 0: the usual one */
    bool replace;
};

/* 0, or an exit code after one line: the path is taken. */
int new_file_begin(const struct tool *tool, struct new_file *file);
/* Give it its name, durably; without success it is removed. Takes the exit code so far. */
int new_file_end(const struct tool *tool, struct new_file *file, int code);

/* ---- the verbs ---- */

#define TOOL_VERB(name)                              \
    extern const struct cli_option name##_options[]; \
    int name##_main(int argc, char **argv)
TOOL_VERB(disk_create);
TOOL_VERB(disk_info);
TOOL_VERB(disk_check);
TOOL_VERB(disk_convert);
TOOL_VERB(disk_export_azure);
TOOL_VERB(disk_resize);
TOOL_VERB(disk_compact);
TOOL_VERB(disk_merge);
TOOL_VERB(disk_set_parent);
TOOL_VERB(disk_map);
TOOL_VERB(disk_diff);
TOOL_VERB(disk_mount);
TOOL_VERB(disk_unmount);

#endif
