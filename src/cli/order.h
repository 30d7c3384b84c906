/* What the commands have in common that ask a running partition. */
#ifndef CLI_ORDER_H
#define CLI_ORDER_H

#include "control/words.h"

enum { ORDER_TIMEOUT_MS = 30000, ORDER_MOST_WORDS = 4 };

/* The words of a command line; the first is a partition's name. */
struct order_words {
    const char *words[ORDER_MOST_WORDS];
    unsigned count;
};

/* Take one more; an exit code after one line when there are `most` already. */
int order_take_word(struct order_words *words, unsigned most, const char *command,
                    const char *word);
/* Are there as many as the usage says, as "NAME FILE"? 0, or an exit code after one line. */
int order_check_words(const struct order_words *words, unsigned wanted, const char *command,
                      const char *usage);

/* Ask, and say what went wrong: 0, or an exit code after one line. The reply is to be released. */
int order_send(const char *command, const char *name, const struct control_request *request,
               struct control_reply *ret);
/* What control_call() brought, when it failed: an exit code after one line. */
int order_explain(const char *command, int error, const struct control_reply *reply,
                  const struct reason *reason);
/* An absolute path of a file that is there; 0 or an exit code after one line. */
int order_take_file(const char *command, const char *file, char *ret);

/* Takes the value, which may be NULL: out of memory. An exit code. */
int order_print_json(const char *command, struct json_t *value);
/* What others say, on a terminal: without what would control it. */
void order_print_text(const char *text);

#endif
