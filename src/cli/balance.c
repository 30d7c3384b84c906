/* partita balance: one budget of memory for all partitions of this user that run under a name. */
#include "balance/balance.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/ending.h"
#include "cli/memory_option.h"
#include "cli/place.h"
#include "control/call.h"
#include "control/socket.h"

#define MIB  UINT64_C(0x100000)
#define STEP UINT64_C(0x8000000) /* what is added to a guest at a time */
enum { ANSWER_MS = 2000, MOST_SECONDS = 3600 };

struct balance_command {
    uint64_t budget;
    unsigned seconds;
    bool once, quiet, help;
};

struct member {
    char name[CONTROL_NAME_SIZE];
    bool ours; /* its target is a share of a budget already */
    bool seen;
    uint64_t told; /* the target that was printed last */
    struct balance_partition numbers;
    uint64_t balloon;  /* of it the guest has this back at once */
    uint64_t resident; /* on the host: more than it has, when the guest breaks its promises */
};

struct members {
    struct member member[BALANCE_MOST_PARTITIONS];
    size_t count;
    /* For balance(), in the same order. */
    struct balance_partition numbers[BALANCE_MOST_PARTITIONS];
    uint64_t targets[BALANCE_MOST_PARTITIONS];
    uint64_t least; /* that they can have together, as it was warned of; 0: no warning */
};

/* ---- options ---- */

static int take_budget(void *command, const char *value)
{
    struct reason reason = {0};

    if (memory_option_size(value, &((struct balance_command *)command)->budget, &reason) == 0)
        return 0;
    cli_error("balance: --budget '%s': %s", value, reason.text);
    return CLI_EXIT_USAGE;
}

static int take_every(void *command, const char *value)
{
    unsigned *seconds = &((struct balance_command *)command)->seconds;

    if (place_parse_number(value, seconds) && *seconds > 0 && *seconds <= MOST_SECONDS)
        return 0;
    cli_error("balance: --every '%s': 1 to %d seconds are wanted", value, MOST_SECONDS);
    return CLI_EXIT_USAGE;
}

static int take_once(void *command, const char *value)
{
    (void)value;
    ((struct balance_command *)command)->once = true;
    return 0;
}

static int take_quiet(void *command, const char *value)
{
    (void)value;
    ((struct balance_command *)command)->quiet = true;
    return 0;
}

static int take_help(void *command, const char *value)
{
    (void)value;
    ((struct balance_command *)command)->help = true;
    return 0;
}

const struct cli_option balance_options[] = {
    {"budget", 'b', CLI_TEXT, "SIZE", NULL, "for all partitions together, as 8G", take_budget},
    {"every", 0, CLI_TEXT, "SECONDS", NULL, "how often it is shared anew (default 1)", take_every},
    {"once", 0, CLI_FLAG, NULL, NULL, "share it once, leave it so, and end", take_once},
    {"quiet", 'q', CLI_FLAG, NULL, NULL, "do not say what changes", take_quiet},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void print_help(void)
{
    (void)puts("Usage: partita balance --budget SIZE [OPTION]...\n"
               "Share SIZE of memory among the partitions that run under a name, by their\n"
               "demand, buffer and weight, until Ctrl-C: then each decides for itself again.\n"
               "Those with fixed memory, or a target that was set, keep what they have of it.\n");
    cli_print_options(stdout, balance_options);
    (void)puts("\n"
               "Exit codes: 0 ended by Ctrl-C, SIGTERM or --once, 1 failed, 2 usage.\n"
               "\n"
               "Examples:\n"
               "  partita balance --budget 8G\n"
               "  partita memory db set --weight 10000");
}

/* ---- who is there ---- */

static struct member *find_member(struct members *members, const char *name)
{
    for (size_t i = 0; i < members->count; i++) {
        if (strcmp(members->member[i].name, name) == 0)
            return &members->member[i];
    }
    if (members->count == BALANCE_MOST_PARTITIONS)
        return NULL;
    struct member *member = &members->member[members->count++];
    *member = (struct member){.name = ""};
    (void)strncpy(member->name, name, sizeof(member->name) - 1);
    return member;
}

static uint64_t number_of(const json_t *memory, const char *key)
{
    json_int_t number = json_integer_value(json_object_get(memory, key));
    return number < 0 ? 0 : (uint64_t)number;
}

/* Fixed memory, and what somebody else has set, is what it is. */
static void take_numbers(struct member *member, const json_t *memory)
{
    bool is_automatic = json_is_true(json_object_get(memory, "automatic"));
    uint64_t current = number_of(memory, "assigned");

    member->ours = json_is_true(json_object_get(memory, "balanced"));
    bool dynamic =
        json_is_true(json_object_get(memory, "dynamic")) && (is_automatic || member->ours);
    member->balloon = number_of(memory, "balloon");
    member->resident = number_of(memory, "resident");
    member->numbers = (struct balance_partition){
        .minimum = dynamic ? number_of(memory, "minimum") : current,
        .maximum = dynamic ? number_of(memory, "maximum") : current,
        .current = current,
        .reported = dynamic && json_is_integer(json_object_get(memory, "demand")),
        .demand = number_of(memory, "demand"),
        .buffer = dynamic ? (unsigned)number_of(memory, "buffer") : BALANCE_LEAST_BUFFER,
        .weight = dynamic ? (unsigned)number_of(memory, "weight") : 1,
    };
}

/* One that does not answer in time, but is there, is counted as it was. */
static void look_at(void *owner, const char *name)
{
    const struct control_request request = {.verb = CONTROL_MEMORY};
    struct control_reply reply = {0};
    int error = control_call(name, &request, ANSWER_MS, &reply, NULL);
    struct member *member = error == 0 || error == -ETIMEDOUT ? find_member(owner, name) : NULL;

    if (member != NULL)
        member->seen = error == 0 || member->numbers.current != 0;
    if (member != NULL && error == 0)
        take_numbers(member, reply.result);
    control_reply_release(&reply);
}

static int look(struct members *members, struct reason *reason)
{
    size_t kept = 0;

    for (size_t i = 0; i < members->count; i++)
        members->member[i].seen = false;
    int error = control_list(look_at, members, reason);
    for (size_t i = 0; i < members->count; i++) {
        if (members->member[i].seen)
            members->member[kept++] = members->member[i];
    }
    members->count = kept;
    return error;
}

/* ---- what each is to have ---- */

static bool set(const struct member *member, const struct control_request *request)
{
    struct control_reply reply = {0};
    int error = control_call(member->name, request, ANSWER_MS, &reply, NULL);

    control_reply_release(&reply);
    return error == 0;
}

static void set_target(struct member *member, uint64_t target, bool quiet)
{
    const struct balance_partition *numbers = &member->numbers;
    const struct control_request request = {
        .verb = CONTROL_MEMORY_SET, .target_mib = (unsigned)(target / MIB), .balanced = true};

    if (!numbers->reported || request.target_mib == 0 || !set(member, &request))
        return;
    member->ours = true;
    /* A guest may take long, or be unable, to let go: that is not said again and again. */
    if (!quiet && target / MIB != numbers->current / MIB && target != member->told) {
        (void)printf("%s: %llu MiB -> %llu MiB, demand %llu MiB\n", member->name,
                     (unsigned long long)(numbers->current / MIB),
                     (unsigned long long)(target / MIB),
                     (unsigned long long)(numbers->demand / MIB));
        (void)fflush(stdout);
    }
    member->told = target;
}

/*
 * Who gets more gets it at once, who is to have less lets go in time: only what is free now is
 * given. Beyond its balloon a guest gets memory in whole steps.
 */
static uint64_t affordable(const struct member *member, uint64_t target, uint64_t *left)
{
    uint64_t current = member->numbers.current;

    if (target <= current)
        return target;
    uint64_t growth = target - current;
    uint64_t returned = growth < member->balloon ? growth : member->balloon;
    returned = returned < *left ? returned : *left;
    *left -= returned;
    uint64_t added = growth > member->balloon ? growth - member->balloon : 0;
    uint64_t steps = (added + STEP - 1) / STEP;
    if (steps * STEP > *left) {
        steps = *left / STEP;
        added = steps * STEP;
    }
    *left -= steps * STEP;
    return current + returned + added;
}

static uint64_t really_used(const struct member *member)
{
    uint64_t current = member->numbers.current;
    return current > member->resident ? current : member->resident;
}

static void set_targets(struct members *members, const struct balance_command *command)
{
    uint64_t used = 0;

    for (size_t i = 0; i < members->count; i++)
        used += really_used(&members->member[i]);
    uint64_t left = used < command->budget ? command->budget - used : 0;
    for (size_t i = 0; i < members->count; i++)
        set_target(&members->member[i], affordable(&members->member[i], members->targets[i], &left),
                   command->quiet);
}

/* A budget that cannot be kept is said once, and again when it is another one that cannot. */
static void warn_of_minimums(struct members *members, uint64_t budget)
{
    uint64_t least = 0;

    for (size_t i = 0; i < members->count; i++)
        least += members->numbers[i].minimum;
    if (least <= budget)
        least = 0;
    if (least != 0 && least != members->least)
        cli_error("balance: the budget of %llu MiB cannot be kept: %zu partitions have %llu MiB at "
                  "least",
                  (unsigned long long)(budget / MIB), members->count,
                  (unsigned long long)(least / MIB));
    members->least = least;
}

static int share(struct members *members, const struct balance_command *command,
                 struct reason *reason)
{
    int error = look(members, reason);

    if (error < 0)
        return error;
    for (size_t i = 0; i < members->count; i++)
        members->numbers[i] = members->member[i].numbers;
    warn_of_minimums(members, command->budget);
    error = balance(command->budget, members->numbers, members->count, members->targets);
    if (error < 0)
        return reason_set(reason, error, "a partition tells sizes that cannot be");
    set_targets(members, command);
    return 0;
}

static void let_go(const struct members *members)
{
    const struct control_request request = {
        .verb = CONTROL_MEMORY_SET, .automatic = true, .balanced = true};

    for (size_t i = 0; i < members->count; i++) {
        if (members->member[i].ours)
            (void)set(&members->member[i], &request);
    }
}

/* ---- until it is ended ---- */

/* True: a signal has come. */
static bool pause_for(unsigned seconds, int signals)
{
    struct pollfd poll_fd = {.fd = signals, .events = POLLIN};
    return poll(&poll_fd, 1, (int)seconds * 1000) > 0;
}

static int run(const struct balance_command *command)
{
    static struct members members;
    struct reason reason = {0};
    auto_close int signals = cli_watch_ending(&reason);
    int error = signals < 0 ? signals : 0;

    while (error == 0) {
        error = share(&members, command, &reason);
        if (error == 0 && command->once)
            return 0;
        if (error == 0 && pause_for(command->seconds, signals))
            break;
    }
    let_go(&members);
    if (error < 0)
        cli_error("balance: %s", reason.text);
    return error < 0 ? CLI_EXIT_FAILED : 0;
}

int balance_main(int argc, char **argv)
{
    struct balance_command command = {.seconds = 1};
    int code = cli_parse(balance_options, argc, argv, &command);

    if (code == 0 && command.help) {
        print_help();
        return 0;
    }
    if (code == 0 && command.budget == 0) {
        cli_error("balance: --budget SIZE is wanted; try 'partita balance --help'");
        code = CLI_EXIT_USAGE;
    }
    return code != 0 ? code : run(&command);
}
