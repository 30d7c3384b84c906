/*
 * partita-codefuzz: made-up and mutated code through the fuzz target of the software engine until
 * a number of guest instructions have run translated, and done as interpreted.
 *
 * Exit status: 0 done, 2 bad arguments; what breaks an invariant ends it by a signal. The input
 * at work is always in the file of --keep, for tests/corpus/engine_soft_run.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "generate.h"
#include "tests/harness/soft_twins.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { EXIT_TROUBLE = 2, MAX_FILES = 16 };

struct arguments {
    uint64_t seed, instructions, first;
    const char *keep;
    struct generate_code code[MAX_FILES];
    unsigned codes;
};

static const char usage[] =
    "usage: partita-codefuzz [--seed N] [--instructions N] [--first N] [--code FILE]...\n"
    "                        [--keep FILE]\n"
    "  --seed N          random seed (default 1)\n"
    "  --instructions N  end once so many ran translated (default 1000000)\n"
    "  --first N         begin with the input of that number\n"
    "  --code FILE       take pieces of real code from it; more than once: of each\n"
    "  --keep FILE       keep the input at work in it\n";

static bool parse_number(const char *text, uint64_t *ret)
{
    char *end = NULL;
    errno = 0;
    *ret = strtoull(text, &end, 0);
    return errno == 0 && end != text && *end == '\0';
}

static bool map_file(const char *path, struct generate_code *ret)
{
    struct stat about;
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &about) < 0 || about.st_size <= 0)
        return false;
    void *at = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    *ret = (struct generate_code){at, (size_t)about.st_size};
    return at != MAP_FAILED;
}

static bool take_option(int option, struct arguments *ret)
{
    switch (option) {
    case 's':
        return parse_number(optarg, &ret->seed);
    case 'n':
        return parse_number(optarg, &ret->instructions);
    case 'f':
        return parse_number(optarg, &ret->first);
    case 'c':
        return ret->codes < MAX_FILES && map_file(optarg, &ret->code[ret->codes++]);
    case 'k':
        ret->keep = optarg;
        return true;
    default:
        return false;
    }
}

static bool parse_arguments(int argc, char **argv, struct arguments *ret)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'},  {"instructions", required_argument, NULL, 'n'},
        {"first", required_argument, NULL, 'f'}, {"code", required_argument, NULL, 'c'},
        {"keep", required_argument, NULL, 'k'},  {NULL, 0, NULL, 0},
    };
    *ret = (struct arguments){.seed = 1, .instructions = 1000000};
    int option = 0;
    /* The only thread so far. NOLINTNEXTLINE(concurrency-mt-unsafe) */
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        if (!take_option(option, ret))
            return false;
    return optind == argc;
}

/* Through one mapping, so that it is there whatever becomes of this process. */
static int keep_input(int fd, const uint8_t *bytes, size_t length)
{
    if (fd < 0)
        return 0;
    bool good =
        pwrite(fd, bytes, length, 0) == (ssize_t)length && ftruncate(fd, (off_t)length) == 0;
    return good ? 0 : -errno;
}

static int run(const struct arguments *arguments)
{
    auto_close int fd = -1;
    if (arguments->keep != NULL)
        fd = open(arguments->keep, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (arguments->keep != NULL && fd < 0)
        return EXIT_TROUBLE;
    uint64_t index = arguments->first;
    for (; twins_counts().translated < arguments->instructions; index++) {
        uint8_t bytes[GENERATE_MAX];
        struct rng rng = rng_fork(arguments->seed, index);
        static const struct generate_code none;
        const struct generate_code *code = &none;
        if (arguments->codes > 0)
            code = &arguments->code[rng_below(&rng, arguments->codes)];
        size_t length = generate_input(&rng, code, bytes);
        if (keep_input(fd, bytes, length) < 0)
            return EXIT_TROUBLE;
        (void)LLVMFuzzerTestOneInput(bytes, length);
    }
    printf("# seed %" PRIu64 ", inputs %" PRIu64 " to %" PRIu64 "\n", arguments->seed,
           arguments->first, index - 1);
    return 0;
}

int main(int argc, char **argv)
{
    struct arguments arguments;
    if (!parse_arguments(argc, argv, &arguments)) {
        (void)fputs(usage, stderr);
        return EXIT_TROUBLE;
    }
    int status = run(&arguments);
    twins_print(stdout);
    printf("%s 1 - %" PRIu64 " instructions translated as interpreted\n1..1\n",
           status == 0 ? "ok" : "not ok", twins_counts().translated);
    return status;
}
