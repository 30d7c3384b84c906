/* partita list and partita status: what running partitions say of themselves. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/order.h"
#include "cli/size.h"
#include "control/call.h"
#include "control/socket.h"

enum { LIST_TIMEOUT_MS = 2000 };

struct status_command {
    struct order_words words;
    bool json, help;
};

static int take_json(void *command, const char *value)
{
    (void)value;
    ((struct status_command *)command)->json = true;
    return 0;
}

static int take_help(void *command, const char *value)
{
    (void)value;
    ((struct status_command *)command)->help = true;
    return 0;
}

static int take_word(void *command, const char *word)
{
    return order_take_word(&((struct status_command *)command)->words, 1, "status", word);
}

/* ---- numbers for people ---- */

/* "42s", "3m 7s", "5h 12m", "9d 3h" */
static struct size_text time_text(uint64_t ns)
{
    enum { MINUTE = 60, HOUR = 3600, DAY = 86400 };
    struct size_text ret;
    uint64_t s = ns / NS_PER_SECOND;

    if (s < MINUTE)
        (void)snprintf(ret.text, sizeof(ret.text), "%" PRIu64 "s", s);
    else if (s < HOUR)
        (void)snprintf(ret.text, sizeof(ret.text), "%" PRIu64 "m %" PRIu64 "s", s / MINUTE,
                       s % MINUTE);
    else if (s < DAY)
        (void)snprintf(ret.text, sizeof(ret.text), "%" PRIu64 "h %" PRIu64 "m", s / HOUR,
                       s % HOUR / MINUTE);
    else
        (void)snprintf(ret.text, sizeof(ret.text), "%" PRIu64 "d %" PRIu64 "h", s / DAY,
                       s % DAY / HOUR);
    return ret;
}

/* ---- for programs ---- */

static json_t *named_object(const char *name, const struct control_status *status)
{
    json_t *facts = control_status_json(status);
    json_t *object = json_pack("{s:s}", "name", name);

    if (facts == NULL || json_object_update(object, facts) < 0) {
        json_decref(object);
        object = NULL;
    }
    json_decref(facts);
    return object;
}

/* ---- list ---- */

const struct cli_option list_options[] = {
    {"json", 'j', CLI_FLAG, NULL, NULL, "for programs: a JSON array of objects", take_json},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void print_list_help(void)
{
    (void)puts("Usage: partita list [OPTION]...\n"
               "Show the partitions of this user that run under a name.\n");
    cli_print_options(stdout, list_options);
    (void)puts("\n"
               "Examples:\n"
               "  partita list\n"
               "  partita list --json | jq -r '.[].name'");
}

struct listing {
    json_t *array; /* NULL: a table */
    bool headed;
    int failed;
};

/* Not before it is known that there is anything to be listed. */
static void print_head(struct listing *listing)
{
    if (!listing->headed && listing->array == NULL)
        (void)printf("%-20s %-12s %5s %8s %10s\n", "NAME", "STATE", "CPUS", "MEMORY", "UPTIME");
    listing->headed = true;
}

static void list_answer(struct listing *listing, const char *name,
                        const struct control_status *status)
{
    if (listing->array != NULL) {
        listing->failed |= json_array_append_new(listing->array, named_object(name, status)) < 0;
        return;
    }
    print_head(listing);
    (void)printf("%-20s %-12s %5u %8s %10s\n", name, status->state, status->cpus,
                 size_text(status->assigned).text, time_text(status->uptime_ns).text);
}

static void list_silent(struct listing *listing, const char *name)
{
    print_head(listing);
    if (listing->array != NULL)
        listing->failed |=
            json_array_append_new(listing->array,
                                  json_pack("{s:s, s:s}", "name", name, "state", "unknown")) < 0;
    else
        (void)printf("%-20s %-12s %5s %8s %10s\n", name, "unknown", "-", "-", "-");
}

static void list_one(void *owner, const char *name)
{
    const struct control_request request = {.verb = CONTROL_STATUS};
    struct control_reply reply;
    struct listing *listing = owner;
    struct reason reason = {""};

    int error = control_call(name, &request, LIST_TIMEOUT_MS, &reply, &reason);
    if (error == 0 && reply.kind == CONTROL_REPLY_STATUS)
        list_answer(listing, name, &reply.status);
    else if (error != -ENOENT) /* its worker has gone, only the socket is left */
        list_silent(listing, name);
    control_reply_release(&reply);
}

int list_main(int argc, char **argv)
{
    struct status_command command = {.json = false};
    struct reason reason = {""};
    int code = cli_parse(list_options, argc, argv, &command);

    if (code != 0)
        return code;
    if (command.help) {
        print_list_help();
        return 0;
    }
    struct listing listing = {.array = command.json ? json_array() : NULL};
    int error = control_list(list_one, &listing, &reason);
    if (error < 0 || listing.failed) {
        cli_error("list: %s", error < 0 ? reason.text : "out of memory");
        json_decref(listing.array);
        return CLI_EXIT_FAILED;
    }
    print_head(&listing);
    return command.json ? order_print_json("list", listing.array) : 0;
}

/* ---- status ---- */

const struct cli_option status_options[] = {
    {"json", 'j', CLI_FLAG, NULL, NULL, "for programs: one JSON object", take_json},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void print_status_help(void)
{
    (void)puts("Usage: partita status NAME [OPTION]...\n"
               "Show the running partition NAME, its disks and its network cards.\n");
    cli_print_options(stdout, status_options);
    (void)puts("\n"
               "Exit codes: 0 shown, 1 it does not answer, 2 usage, 5 no such partition runs.\n"
               "\n"
               "Examples:\n"
               "  partita status web\n"
               "  partita status web --json | jq '.disks[].path'");
}

static void print_disks(const struct control_status *status)
{
    if (status->disk_count > 0)
        (void)printf("\n%-7s %-10s %8s %8s %8s  %s\n", "PLACE", "KIND", "SIZE", "READ", "WRITTEN",
                     "FILE");
    for (size_t i = 0; i < status->disk_count; i++) {
        const struct control_disk *disk = &status->disks[i];
        struct size_text place;
        (void)snprintf(place.text, sizeof(place.text), "%u:%u", disk->controller, disk->lun);
        (void)printf("%-7s %-10s %8s %8s %8s  ", place.text,
                     disk->dvd         ? "dvd"
                     : disk->read_only ? "read-only"
                                       : "disk",
                     size_text(disk->capacity).text, size_text(disk->read_bytes).text,
                     size_text(disk->written_bytes).text);
        order_print_text(disk->path != NULL ? disk->path : "(no disc)");
        (void)putchar('\n');
    }
}

static void print_cards(const struct control_status *status)
{
    if (status->card_count > 0)
        (void)printf("\n%-7s %-10s %-18s %8s %8s %8s  %s\n", "CARD", "KIND", "ADDRESS", "RECEIVED",
                     "SENT", "DROPPED", "LINK");
    for (size_t i = 0; i < status->card_count; i++) {
        const struct control_card *card = &status->cards[i];
        (void)printf("%-7zu %-10s %-18s %8s %8s %8" PRIu64 "  %s\n", i, card->kind, card->mac,
                     size_text(card->received_bytes).text, size_text(card->sent_bytes).text,
                     card->received_dropped + card->sent_dropped,
                     !card->link  ? "down"
                     : card->used ? "up"
                                  : "up, not used");
    }
}

static void print_status(const char *name, const struct control_status *status)
{
    (void)printf("Name:    %s\nState:   %s\nProcess: %" PRIu64 "\nEngine:  %s\nCPUs:    %u\n", name,
                 status->state, status->pid, status->engine, status->cpus);
    (void)printf("Memory:  %s", size_text(status->assigned).text);
    if (status->assigned != status->memory)
        (void)printf(" (%s at the start)", size_text(status->memory).text);
    (void)printf("\nUptime:  %s\n", time_text(status->uptime_ns).text);
    if (status->vmbus[0] != '\0')
        (void)printf("VMBus:   version %s, %u open channels\n", status->vmbus, status->channels);
    else
        (void)printf("VMBus:   not used by the guest\n");
    if (status->heartbeat[0] != '\0')
        (void)printf("Heart:   %s\n", status->heartbeat);
    print_disks(status);
    print_cards(status);
}

static int show(const struct status_command *command)
{
    const struct control_request request = {.verb = CONTROL_STATUS};
    const char *name = command->words.words[0];
    struct control_reply reply;

    int code = order_send("status", name, &request, &reply);
    if (code == 0 && command->json)
        code = order_print_json("status", named_object(name, &reply.status));
    else if (code == 0)
        print_status(name, &reply.status);
    control_reply_release(&reply);
    return code;
}

int status_main(int argc, char **argv)
{
    struct status_command command = {.json = false};
    int code = cli_parse_words(status_options, argc, argv, &command, take_word);

    if (code == 0 && command.help) {
        print_status_help();
        return 0;
    }
    if (code == 0)
        code = order_check_words(&command.words, 1, "status", "NAME");
    return code != 0 ? code : show(&command);
}
