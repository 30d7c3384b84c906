/* partita kvp: key-value pairs and network addresses of a guest. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "cli/cli.h"
#include "cli/order.h"
#include "control/call.h"

struct kvp_command {
    struct order_words words;
    struct control_request request;
    const char *pool; /* NULL: not said */
    bool json, help, sets_addresses;
};

/* In the order in which a key is looked for: what the host set comes first. */
static const char *const pools[] = {"external", "guest", "auto", "auto-external", "auto-internal"};
enum { POOL_COUNT = sizeof(pools) / sizeof(pools[0]) };

/* ---- options ---- */

static int take_text(const char *option, const char *value, char *to, size_t size)
{
    if (strlen(value) < size) {
        memcpy(to, value, strlen(value) + 1);
        return 0;
    }
    cli_error("kvp: %s is too long", option);
    return CLI_EXIT_USAGE;
}

static int take_pool(void *command, const char *value)
{
    for (unsigned i = 0; i < POOL_COUNT; i++) {
        if (strcmp(pools[i], value) == 0) {
            ((struct kvp_command *)command)->pool = pools[i];
            return 0;
        }
    }
    cli_error("kvp: --pool '%s': auto, guest, external, auto-external or auto-internal is wanted",
              value);
    return CLI_EXIT_USAGE;
}

#define TAKE_ADDRESSES(field)                                                                 \
    static int take_##field(void *command, const char *value)                                 \
    {                                                                                         \
        struct kvp_command *kvp = command;                                                    \
        kvp->sets_addresses = true;                                                           \
        return take_text("--" #field, value, kvp->request.field, sizeof(kvp->request.field)); \
    }
TAKE_ADDRESSES(addresses)
TAKE_ADDRESSES(masks)
TAKE_ADDRESSES(gateways)
TAKE_ADDRESSES(servers)

static int take_dhcp(void *command, const char *value)
{
    struct kvp_command *kvp = command;

    (void)value;
    kvp->sets_addresses = true;
    kvp->request.dhcp = true;
    return 0;
}

static int take_json(void *command, const char *value)
{
    (void)value;
    ((struct kvp_command *)command)->json = true;
    return 0;
}

static int take_help(void *command, const char *value)
{
    (void)value;
    ((struct kvp_command *)command)->help = true;
    return 0;
}

static int take_word(void *command, const char *word)
{
    return order_take_word(&((struct kvp_command *)command)->words, 4, "kvp", word);
}

const struct cli_option kvp_options[] = {
    {"pool", 'p', CLI_WORDS, "POOL", "auto guest external auto-external auto-internal",
     "which pairs (default: all; set and delete: external)", take_pool},
    {"addresses", 0, CLI_TEXT, "LIST", NULL, "ip: addresses to set, with semicolons between",
     take_addresses},
    {"masks", 0, CLI_TEXT, "LIST", NULL, "ip: their subnet masks", take_masks},
    {"gateways", 0, CLI_TEXT, "LIST", NULL, "ip: gateways", take_gateways},
    {"servers", 0, CLI_TEXT, "LIST", NULL, "ip: name servers", take_servers},
    {"dhcp", 0, CLI_FLAG, NULL, NULL, "ip: have the card ask for its address", take_dhcp},
    {"json", 'j', CLI_FLAG, NULL, NULL, "for programs: list and ip as JSON", take_json},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void print_help(void)
{
    (void)puts("Usage: partita kvp NAME list [OPTION]...\n"
               "       partita kvp NAME get KEY [OPTION]...\n"
               "       partita kvp NAME set KEY VALUE [OPTION]...\n"
               "       partita kvp NAME delete KEY [OPTION]...\n"
               "       partita kvp NAME ip [ADAPTER] [OPTION]...\n"
               "Read and write the key-value pairs that the guest of the running partition NAME\n"
               "keeps, and the addresses of its network cards.\n");
    cli_print_options(stdout, kvp_options);
    (void)puts("\n"
               "The pool auto is what the guest says of itself, as OSName; guest is written in\n"
               "the guest, external by the host; get takes the first of external, guest, auto,\n"
               "auto-external and auto-internal that has KEY. ADAPTER is the address of a card,\n"
               "as 00:15:5d:00:00:01, or to set its id, as {GUID}; when the partition has one\n"
               "card, that is meant without.\n"
               "\n"
               "Exit codes: 0 done, 1 no such key, or the guest could not, 2 usage, 5 no such\n"
               "partition runs.\n"
               "\n"
               "Examples:\n"
               "  partita kvp web list\n"
               "  partita kvp web get OSName\n"
               "  partita kvp web set role frontend");
}

/* ---- list ---- */

static int list_pool(const char *name, const char *pool, json_t *array)
{
    struct control_request request = {.verb = CONTROL_KVP_LIST};
    struct control_reply reply;
    size_t index = 0;
    json_t *pair = NULL;

    (void)snprintf(request.pool, sizeof(request.pool), "%s", pool);
    int code = order_send("kvp", name, &request, &reply);
    if (code == 0) {
        json_array_foreach(reply.result, index, pair)
        {
            (void)json_object_set_new(pair, "pool", json_string(pool));
            (void)json_array_append(array, pair);
        }
    }
    control_reply_release(&reply);
    return code;
}

static void print_pairs(const json_t *array)
{
    size_t index = 0;
    json_t *pair = NULL;

    json_array_foreach(array, index, pair)
    {
        const char *key = json_string_value(json_object_get(pair, "key"));
        const char *value = json_string_value(json_object_get(pair, "value"));
        (void)printf("%-14s ", json_string_value(json_object_get(pair, "pool")));
        order_print_text(key != NULL ? key : "");
        (void)printf("=");
        order_print_text(value != NULL ? value : "");
        (void)putchar('\n');
    }
}

static int list(const struct kvp_command *command, const char *name)
{
    json_t *array = json_array();
    int code = 0;

    for (unsigned i = 0; code == 0 && i < POOL_COUNT; i++) {
        if (command->pool == NULL || command->pool == pools[i])
            code = list_pool(name, pools[i], array);
    }
    if (code == 0 && command->json)
        return order_print_json("kvp", array);
    if (code == 0)
        print_pairs(array);
    json_decref(array);
    return code;
}

/* ---- the others ---- */

static void print_field(const json_t *result, const char *title, const char *key)
{
    const char *text = json_string_value(json_object_get(result, key));

    (void)printf("%-11s", title);
    order_print_text(text != NULL ? text : "");
    (void)putchar('\n');
}

static int print_addresses(const json_t *result)
{
    (void)printf("%-11s%s\n",
                 "DHCP:", json_is_true(json_object_get(result, "dhcp")) ? "yes" : "no");
    print_field(result, "Addresses:", "addresses");
    print_field(result, "Masks:", "masks");
    print_field(result, "Gateways:", "gateways");
    print_field(result, "Servers:", "servers");
    return 0;
}

/* The first pool that has the key, when none was said. */
static int get(struct kvp_command *command, const char *name)
{
    struct control_request *request = &command->request;
    struct control_reply reply;
    struct reason reason = {""};
    int error = -ENOENT;
    unsigned i = 0;

    do {
        if (command->pool == NULL)
            (void)snprintf(request->pool, sizeof(request->pool), "%s", pools[i]);
        if (i > 0)
            control_reply_release(&reply);
        error = control_call(name, request, ORDER_TIMEOUT_MS, &reply, &reason);
    } while (error == -ENOENT && reply.error != 0 && command->pool == NULL && ++i < POOL_COUNT);
    int code = error == 0 ? 0 : order_explain("kvp", error, &reply, &reason);
    if (code == 0) {
        const char *value = json_string_value(json_object_get(reply.result, "value"));
        order_print_text(value != NULL ? value : "");
        (void)putchar('\n');
    }
    control_reply_release(&reply);
    return code;
}

/* Linux' daemon compares in capitals what the address of a card is, but not an id. */
static int take_adapter(struct kvp_command *command, const char *word)
{
    char *adapter = command->request.adapter;
    int code = take_text("ADAPTER", word, adapter, sizeof(command->request.adapter));

    for (; code == 0 && word[0] != '{' && *adapter != '\0'; adapter++) {
        if (*adapter >= 'a' && *adapter <= 'f')
            *adapter = (char)(*adapter - 'a' + 'A');
    }
    return code;
}

/* The card with the address that was given, or the only one; NULL after one line. */
static const struct control_card *find_card(const struct kvp_command *command, const char *name,
                                            const struct control_status *status)
{
    const char *mac = command->request.adapter;

    if (mac[0] == '\0' && status->card_count == 1)
        return &status->cards[0];
    for (size_t i = 0; mac[0] != '\0' && i < status->card_count; i++) {
        if (strcasecmp(status->cards[i].mac, mac) == 0)
            return &status->cards[i];
    }
    if (mac[0] == '\0')
        cli_error("kvp: %s has %zu network cards: NAME ip ADAPTER is wanted", name,
                  status->card_count);
    else
        cli_error("kvp: %s has no network card %s; 'partita status %s' shows them", name, mac,
                  name);
    return NULL;
}

/* The guest knows a card by its address, but for setting by its id. */
static int resolve_adapter(struct kvp_command *command, const char *name)
{
    const struct control_request request = {.verb = CONTROL_STATUS};
    struct control_reply reply;
    bool sets = command->request.verb == CONTROL_IP_SET;

    /* A card of the guest's own has an address too. */
    if (command->request.adapter[0] == '{' || (!sets && command->request.adapter[0] != '\0'))
        return 0;
    int code = order_send("kvp", name, &request, &reply);
    if (code == 0) {
        const struct control_card *card = find_card(command, name, &reply.status);
        code = card == NULL ? CLI_EXIT_USAGE : take_adapter(command, sets ? card->id : card->mac);
    }
    control_reply_release(&reply);
    return code;
}

static int perform(struct kvp_command *command, const char *name)
{
    bool is_ip = command->request.verb == CONTROL_IP_GET || command->request.verb == CONTROL_IP_SET;
    struct control_reply reply;

    if (command->request.verb == CONTROL_KVP_GET)
        return get(command, name);
    int code = is_ip ? resolve_adapter(command, name) : 0;
    if (code != 0)
        return code;
    code = order_send("kvp", name, &command->request, &reply);
    if (code == 0 && command->request.verb == CONTROL_IP_GET) {
        code = command->json ? order_print_json("kvp", json_incref(reply.result))
                             : print_addresses(reply.result);
    }
    control_reply_release(&reply);
    return code;
}

static const struct {
    const char *name, *usage;
    unsigned words;
    enum control_verb verb;
} verbs[] = {
    {"list", "NAME list", 2, CONTROL_KVP_LIST},
    {"get", "NAME get KEY", 3, CONTROL_KVP_GET},
    {"set", "NAME set KEY VALUE", 4, CONTROL_KVP_SET},
    {"delete", "NAME delete KEY", 3, CONTROL_KVP_DELETE},
    {"ip", "NAME ip ADAPTER", 3, CONTROL_IP_GET},
};
enum { VERB_COUNT = sizeof(verbs) / sizeof(verbs[0]) };

static int fill(struct kvp_command *command, enum control_verb verb)
{
    struct control_request *request = &command->request;
    const char *const *words = command->words.words;
    int code = 0;

    request->verb = verb;
    (void)snprintf(request->pool, sizeof(request->pool), "%s",
                   command->pool != NULL ? command->pool : "external");
    if (verb == CONTROL_IP_GET) {
        request->verb = command->sets_addresses ? CONTROL_IP_SET : CONTROL_IP_GET;
        return command->words.count > 2 ? take_adapter(command, words[2]) : 0;
    }
    if (verb != CONTROL_KVP_LIST)
        code = take_text("KEY", words[2], request->key, sizeof(request->key));
    if (code == 0 && verb == CONTROL_KVP_SET)
        code = take_text("VALUE", words[3], request->value, sizeof(request->value));
    return code;
}

static int carry_out(struct kvp_command *command)
{
    unsigned i = 0;
    const char *verb = command->words.count > 1 ? command->words.words[1] : "";

    while (i < VERB_COUNT && strcmp(verbs[i].name, verb) != 0)
        i++;
    if (i == VERB_COUNT) {
        cli_error(
            "kvp: NAME, and list, get, set, delete or ip is wanted; try 'partita kvp --help'");
        return CLI_EXIT_USAGE;
    }
    /* The one card that there is need not be named. */
    bool only_card = verbs[i].verb == CONTROL_IP_GET && command->words.count == 2;
    int code =
        only_card ? 0 : order_check_words(&command->words, verbs[i].words, "kvp", verbs[i].usage);
    if (code == 0)
        code = fill(command, verbs[i].verb);
    if (code != 0)
        return code;
    return verbs[i].verb == CONTROL_KVP_LIST ? list(command, command->words.words[0])
                                             : perform(command, command->words.words[0]);
}

int kvp_main(int argc, char **argv)
{
    struct kvp_command command = {.pool = NULL};
    int code = cli_parse_words(kvp_options, argc, argv, &command, take_word);

    if (code == 0 && command.help) {
        print_help();
        return 0;
    }
    return code != 0 ? code : carry_out(&command);
}
