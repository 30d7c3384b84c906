/*
 * partita-difftest: the same instruction with the same state on the host's processor and in the
 * software engine, and what differs.
 *
 * Exit status: 0 no difference, 1 differences, 2 bad arguments or no engine, 77 this host cannot
 * run the native side (a skipped test to meson).
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "report.h"
#include "session.h"

enum { EXIT_DIFFERS = 1, EXIT_TROUBLE = 2, EXIT_SKIP = 77, REPLAY_CASES = 2048 };

struct arguments {
    struct session_options options;
    const char *replay;
    uint64_t show;
    bool has_show, forever, list;
};

static const char usage[] =
    "usage: partita-difftest [--seed N] [--cases N] [--forms REGEX] [--forever] [--list]\n"
    "                        [--show INDEX] [--replay FILE|[16:|32:]HEX] [--cpu LEVEL] [--hidden "
    "N]\n"
    "                        [--failures N] [--translate] [--self-check] [--verbose]\n"
    "  --seed N      random seed (default 1)\n"
    "  --cases N     number of cases (default 100000)\n"
    "  --forms REGEX only forms whose name, as --list prints it, matches\n"
    "  --forever     go on with seed N+1, N+2, … until something differs\n"
    "  --list        print all forms and what is done with them\n"
    "  --show INDEX  run and print the one case of that number\n"
    "  --replay X    cases of one instruction: hex bytes, of 32-bit code after \"32:\";\n"
    "                or of a file with one such line each\n"
    "  --cpu LEVEL   x86-64-v2, x86-64-v3 or host (default): what the guest's CPUID shows\n"
    "  --hidden N    percent of the forms that CPUID hides to run, for #UD (default 3)\n"
    "  --self-check  native against native\n"
    "  --translate   translate the guest's code instead of interpreting it\n"
    "  --failures N  stop after N forms have failed (default 20)\n"
    "  --verbose     print every case that differs, not one of each form\n";

/* ---- arguments ---- */

static bool parse_number(const char *text, uint64_t *ret)
{
    char *end = NULL;
    errno = 0;
    *ret = strtoull(text, &end, 0);
    return errno == 0 && end != text && *end == '\0';
}

static bool parse_level(const char *text, enum engine_cpu_level *ret)
{
    static const char *const name[] = {
        [ENGINE_CPU_V2] = "x86-64-v2", [ENGINE_CPU_V3] = "x86-64-v3", [ENGINE_CPU_HOST] = "host"};
    for (unsigned i = 0; i < sizeof(name) / sizeof(name[0]); i++)
        if (strcmp(text, name[i]) == 0) {
            *ret = (enum engine_cpu_level)i;
            return true;
        }
    return false;
}

static bool take_option(int option, struct arguments *ret)
{
    switch (option) {
    case 's':
        return parse_number(optarg, &ret->options.seed);
    case 'n':
        return parse_number(optarg, &ret->options.cases);
    case 'f':
        ret->options.forms = optarg;
        return true;
    case 'e':
        ret->forever = true;
        return true;
    case 'l':
        ret->list = true;
        return true;
    case 'w':
        ret->has_show = true;
        return parse_number(optarg, &ret->show);
    case 'r':
        ret->replay = optarg;
        return true;
    case 'c':
        return parse_level(optarg, &ret->options.level);
    case 'S':
        ret->options.self_check = true;
        return true;
    case 'm':
        return parse_number(optarg, &ret->options.failures) && ret->options.failures > 0 &&
               ret->options.failures <= SESSION_MAX_FAILURES;
    case 'h': {
        uint64_t percent = 0;
        bool good = parse_number(optarg, &percent) && percent <= 100;
        ret->options.hidden = (uint32_t)percent;
        return good;
    }
    case 't':
        ret->options.translate = ENGINE_TRANSLATE_ALWAYS;
        return true;
    case 'v':
        ret->options.verbose = true;
        return true;
    default:
        return false;
    }
}

static bool parse_arguments(int argc, char **argv, struct arguments *ret)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'},     {"cases", required_argument, NULL, 'n'},
        {"forms", required_argument, NULL, 'f'},    {"forever", no_argument, NULL, 'e'},
        {"list", no_argument, NULL, 'l'},           {"show", required_argument, NULL, 'w'},
        {"replay", required_argument, NULL, 'r'},   {"cpu", required_argument, NULL, 'c'},
        {"self-check", no_argument, NULL, 'S'},     {"verbose", no_argument, NULL, 'v'},
        {"failures", required_argument, NULL, 'm'}, {"hidden", required_argument, NULL, 'h'},
        {"translate", no_argument, NULL, 't'},      {NULL, 0, NULL, 0},
    };
    *ret = (struct arguments){.options = {.seed = 1,
                                          .cases = 100000,
                                          .failures = 20,
                                          .hidden = 3,
                                          .level = ENGINE_CPU_HOST,
                                          .translate = ENGINE_TRANSLATE_NEVER}};
    int option = 0;
    /* The only thread so far. NOLINTNEXTLINE(concurrency-mt-unsafe) */
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        if (!take_option(option, ret))
            return false;
    return optind == argc;
}

/* ---- replay ---- */

/* "48 01 d8", "4801d8", "32:40", "16:66 40". */
static bool parse_instruction(const char *text, enum diff_mode *ret_mode, uint8_t *ret,
                              size_t *ret_length)
{
    *ret_mode = strncmp(text, "32:", 3) == 0   ? DIFF_MODE32
                : strncmp(text, "16:", 3) == 0 ? DIFF_MODE16
                                               : DIFF_MODE64;
    const char *at = *ret_mode == DIFF_MODE64 ? text : text + 3;
    for (*ret_length = 0; *ret_length < ZYDIS_MAX_INSTRUCTION_LENGTH + 1; (*ret_length)++) {
        while (isspace((unsigned char)*at))
            at++;
        if (*at == '\0' || *at == '#')
            return *ret_length > 0;
        if (!isxdigit((unsigned char)at[0]) || !isxdigit((unsigned char)at[1]))
            return false;
        char digits[3] = {at[0], at[1], '\0'};
        ret[*ret_length] = (uint8_t)strtoul(digits, NULL, 16);
        at += 2;
    }
    return true;
}

static int replay_text(struct session *session, const char *text, struct reason *reason)
{
    uint8_t bytes[ZYDIS_MAX_INSTRUCTION_LENGTH + 1];
    size_t length = 0;
    enum diff_mode mode = DIFF_MODE64;
    if (!parse_instruction(text, &mode, bytes, &length))
        return reason_set(reason, -EINVAL, "neither a file nor hex bytes: %.80s", text);
    return session_replay(session, mode, bytes, length, REPLAY_CASES, reason);
}

static int replay(struct session *session, const char *what, struct reason *reason)
{
    char line[256];
    auto_fclose FILE *file = fopen(what, "re");
    if (file == NULL)
        return replay_text(session, what, reason);
    while (fgets(line, sizeof(line), file) != NULL) {
        int e = line[0] == '#' || line[0] == '\n' ? 0 : replay_text(session, line, reason);
        if (e != 0)
            return e;
    }
    return 0;
}

/* ---- results ---- */

static void print_tests(const char *kind, const char *const *name, unsigned count,
                        const uint64_t *cases, const uint64_t *failed)
{
    static unsigned number;
    for (unsigned i = 0; i < count; i++)
        (void)printf("%s %u - %s %s: %llu cases, %llu differ\n", failed[i] == 0 ? "ok" : "not ok",
                     ++number, kind, name[i], (unsigned long long)cases[i],
                     (unsigned long long)failed[i]);
}

static void print_statistics(const struct session *session)
{
    const struct session_counts *counts = &session->counts;
    (void)printf("# seed %llu, %llu cases of %zu forms, %llu differ, %llu restarts of the child\n",
                 (unsigned long long)session->options->seed, (unsigned long long)counts->total,
                 session->choice_count, (unsigned long long)counts->failed,
                 (unsigned long long)session->native.restarts);
    (void)printf("# native exceptions:");
    for (unsigned i = 0; i < SESSION_VECTORS; i++)
        if (counts->vector[i] != 0)
            (void)printf(" %u:%llu", i, (unsigned long long)counts->vector[i]);
    (void)printf("\n# differences in undefined flags only:");
    for (unsigned i = 0; i <= ZYDIS_MNEMONIC_MAX_VALUE; i++)
        if (counts->undefined[i] != 0)
            (void)printf(" %s:%llu", ZydisMnemonicGetString((ZydisMnemonic)i),
                         (unsigned long long)counts->undefined[i]);
    (void)printf("\n");
}

static void print_results(const struct session *session)
{
    static const char *const kind[BUILD_KIND_COUNT] = {"forms", "page edge", "hidden features",
                                                       "illegal bytes", "sequences"};
    const struct session_counts *counts = &session->counts;
    (void)printf("1..%d\n", (int)GROUP_COUNT + (int)BUILD_KIND_COUNT);
    print_tests("group", policy_group_name, GROUP_COUNT, counts->group, counts->group_failed);
    print_tests("kind", kind, BUILD_KIND_COUNT, counts->kind, counts->kind_failed);
    print_statistics(session);
    (void)fflush(stdout);
}

static int run(struct session *session, const struct arguments *arguments, struct reason *reason)
{
    if (arguments->replay != NULL)
        return replay(session, arguments->replay, reason);
    if (arguments->has_show)
        return session_show(session, arguments->show, reason);
    return session_run(session, reason);
}

static int run_session(const struct arguments *arguments)
{
    struct session session;
    struct reason reason = {.text = ""};
    int e = session_open(&arguments->options, &session, &reason);
    if (e == -ENOTSUP) {
        (void)printf("1..0 # SKIP %s\n", reason.text);
        return EXIT_SKIP;
    }
    if (e == 0 && arguments->list) {
        session_list(&session);
        session_close(&session);
        return 0;
    }
    bool open = e == 0;
    e = open ? run(&session, arguments, &reason) : e;
    if (open)
        print_results(&session);
    bool differs = open && session.counts.failed != 0;
    if (open)
        session_close(&session);
    if (e != 0) {
        (void)printf("Bail out! %s\n", reason.text);
        return EXIT_TROUBLE;
    }
    return differs ? EXIT_DIFFERS : 0;
}

int main(int argc, char **argv)
{
    struct arguments arguments;
    if (!parse_arguments(argc, argv, &arguments)) {
        (void)fputs(usage, stderr);
        return EXIT_TROUBLE;
    }
    int status = run_session(&arguments);
    while (arguments.forever && status == 0) {
        arguments.options.seed++;
        status = run_session(&arguments);
    }
    return status;
}
