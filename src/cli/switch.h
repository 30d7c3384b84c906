/* partita switch: verbs of its own, for the table of commands and for completion. */
#ifndef CLI_SWITCH_H
#define CLI_SWITCH_H

#include <jansson.h>

#include "cli/cli.h"
#include "cli/order.h"

extern const struct cli_command switch_verbs[]; /* ends with one without a name */
extern const struct cli_option switch_options[];
int switch_main(int argc, char **argv);

/* ---- what its verbs share ---- */

struct switch_command {
    const char *verb;  /* "switch create" */
    const char *usage; /* its words, as "NAME PORT" */
    unsigned most;     /* words */
    struct order_words words;
    json_t *object; /* what the options say: a configuration, settings or a rule */
    bool json, help, remove, force;
};

/* 0, or an exit code after one line; `least` words are wanted. The object is the caller's. */
int switch_parse(struct switch_command *command, const struct cli_option *options, int argc,
                 char **argv, unsigned least);
int switch_take_json(void *command, const char *value);
int switch_take_help(void *command, const char *value);
/* Ask the switches; takes the request. An exit code, after one line when it is not 0. */
int switch_ask(const struct switch_command *command, json_t *request, json_t **ret);
/* The same when there is nothing to show. */
int switch_tell(const struct switch_command *command, json_t *request);
void switch_print_help(const char *text, const struct cli_option *options);

extern const struct cli_option switch_create_options[];
int switch_create_main(int argc, char **argv);
extern const struct cli_option switch_set_options[];
int switch_set_main(int argc, char **argv);
extern const struct cli_option switch_delete_options[];
int switch_delete_main(int argc, char **argv);
extern const struct cli_option switch_port_options[];
int switch_port_main(int argc, char **argv);
extern const struct cli_option switch_acl_options[];
int switch_acl_main(int argc, char **argv);
extern const struct cli_option switch_list_options[];
int switch_list_main(int argc, char **argv);
extern const struct cli_option switch_show_options[];
int switch_show_main(int argc, char **argv);
extern const struct cli_option switch_meters_options[];
int switch_meters_main(int argc, char **argv);
extern const struct cli_option switch_statistics_options[];
int switch_statistics_main(int argc, char **argv);
extern const struct cli_option switch_serve_options[];
int switch_serve_main(int argc, char **argv);
/* A row for each rule. */
int switch_print_rules(const struct switch_command *command, json_t *rules);

#endif
