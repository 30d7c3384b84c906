/* partita run: one partition, in this process, without a manager. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/disk_option.h"
#include "cli/memory_option.h"
#include "cli/net_option.h"
#include "cli/place.h"
#include "cli/size.h"
#include "control/socket.h"
#include "engine/engine.h"
#include "switchd/switchd.h"
#include "worker/worker.h"

struct run_command {
    struct worker_config worker;
    char *module_words[BOOT_MAX_MODULES]; /* what the modules' paths and command lines point into */
    char *disk_words[WORKER_MAX_DISKS];   /* the same for disks */
    char *net_words[WORKER_MAX_CARDS];    /* and for cards */
    enum engine_choice engine;
    bool no_card;
    bool help;
};

enum { DEFAULT_MEMORY_MIB = 512, MIB = 1 << 20 };

static int usage_error(const char *option, const char *value, const char *wanted)
{
    cli_error("run: --%s '%s': %s", option, value, wanted);
    return CLI_EXIT_USAGE;
}

/* ---- one function an option ---- */

static int take_kernel(void *command, const char *value)
{
    ((struct run_command *)command)->worker.kernel_path = value;
    return 0;
}

static int take_initrd(void *command, const char *value)
{
    ((struct run_command *)command)->worker.initrd_path = value;
    return 0;
}

static int take_append(void *command, const char *value)
{
    ((struct run_command *)command)->worker.machine.boot.command_line = value;
    return 0;
}

static int take_module(void *command, const char *value)
{
    struct run_command *run = command;
    struct worker_config *worker = &run->worker;

    if (worker->module_count == BOOT_MAX_MODULES) {
        cli_error("run: more than %d modules", BOOT_MAX_MODULES);
        return CLI_EXIT_USAGE;
    }
    /* "FILE,ARGUMENTS": the file's name ends at the first comma. */
    char *path = strdup(value);
    if (path == NULL) {
        cli_error("out of memory");
        return WORKER_EXIT_FAILED;
    }
    run->module_words[worker->module_count] = path;
    char *comma = strchr(path, ',');
    if (comma != NULL)
        *comma = '\0';
    worker->modules[worker->module_count++] = (struct worker_module){
        .path = path,
        .command_line = comma != NULL ? comma + 1 : NULL,
    };
    return 0;
}

static int take_size(const char *option, const char *value, uint64_t *ret)
{
    struct reason reason = {0};

    switch (memory_option_size(value, ret, &reason)) {
    case 0:
        return 0;
    case -ERANGE:
        cli_error("run: --%s '%s': %s", option, value, reason.text);
        return WORKER_EXIT_REFUSED;
    default:
        return usage_error(option, value, reason.text);
    }
}

static int take_memory(void *command, const char *value)
{
    return take_size("memory", value, &((struct run_command *)command)->worker.machine.memory_size);
}

static int take_memory_min(void *command, const char *value)
{
    return take_size("memory-min", value, &((struct run_command *)command)->worker.memory.minimum);
}

static int take_memory_max(void *command, const char *value)
{
    return take_size("memory-max", value,
                     &((struct run_command *)command)->worker.machine.memory_maximum);
}

static int take_memory_buffer(void *command, const char *value)
{
    struct worker_memory *memory = &((struct run_command *)command)->worker.memory;
    struct reason reason = {0};

    return memory_option_buffer(value, &memory->buffer, &reason) == 0
               ? 0
               : usage_error("memory-buffer", value, reason.text);
}

static int take_memory_weight(void *command, const char *value)
{
    struct worker_memory *memory = &((struct run_command *)command)->worker.memory;
    struct reason reason = {0};

    return memory_option_weight(value, &memory->weight, &reason) == 0
               ? 0
               : usage_error("memory-weight", value, reason.text);
}

static int take_cpus(void *command, const char *value)
{
    char *end = NULL;
    unsigned long count = strtoul(value, &end, 10);

    if (*value < '0' || *value > '9' || *end != '\0' || count < 1 || count > ENGINE_MAX_VCPUS)
        return usage_error("cpus", value, "a number from 1 to 64 is wanted");
    ((struct run_command *)command)->worker.machine.vcpu_count = (unsigned)count;
    return 0;
}

static int take_engine(void *command, const char *value)
{
    struct run_command *run = command;

    if (strcmp(value, "auto") == 0)
        run->engine = ENGINE_CHOICE_AUTO;
    else if (strcmp(value, "kvm") == 0)
        run->engine = ENGINE_CHOICE_KVM;
    else if (strcmp(value, "soft") == 0)
        run->engine = ENGINE_CHOICE_SOFT;
    else
        return usage_error("engine", value, "auto, kvm or soft is wanted");
    return 0;
}

static int take_cpu(void *command, const char *value)
{
    struct machine_config *machine = &((struct run_command *)command)->worker.machine;

    if (strcmp(value, "x86-64-v2") == 0)
        machine->cpu_level = ENGINE_CPU_V2;
    else if (strcmp(value, "x86-64-v3") == 0)
        machine->cpu_level = ENGINE_CPU_V3;
    else if (strcmp(value, "host") == 0)
        machine->cpu_level = ENGINE_CPU_HOST;
    else
        return usage_error("cpu", value, "x86-64-v2, x86-64-v3 or host is wanted");
    return 0;
}

/* lockstep, or lockstep:SEED. */
static bool take_lockstep(struct machine_config *machine, const char *value)
{
    const char *seed = strchr(value, ':');
    unsigned long long number = 0;
    char *end;

    if (strncmp(value, "lockstep", strlen("lockstep")) != 0)
        return false;
    if (seed == NULL && value[strlen("lockstep")] != 0)
        return false;
    if (seed != NULL) {
        number = strtoull(seed + 1, &end, 10);
        if (seed != value + strlen("lockstep") || number == 0 || *end != 0)
            return false;
    }
    machine->translate = ENGINE_TRANSLATE_LOCKSTEP;
    machine->lockstep_seed = number;
    return true;
}

static int take_translate(void *command, const char *value)
{
    struct machine_config *machine = &((struct run_command *)command)->worker.machine;

    if (strcmp(value, "hot") == 0)
        machine->translate = ENGINE_TRANSLATE_HOT;
    else if (strcmp(value, "always") == 0)
        machine->translate = ENGINE_TRANSLATE_ALWAYS;
    else if (strcmp(value, "never") == 0)
        machine->translate = ENGINE_TRANSLATE_NEVER;
    else if (!take_lockstep(machine, value))
        return usage_error("translate", value, "hot, always, never or lockstep is wanted");
    return 0;
}

static int take_trace_code(void *command, const char *value)
{
    struct machine_config *machine = &((struct run_command *)command)->worker.machine;

    if (machine->code_trace != NULL)
        return usage_error("trace-code", value, "it was named before");
    machine->code_trace = fopen(value, "we");
    if (machine->code_trace == NULL) {
        cli_error("%s: %s", value, strerrordesc_np(errno));
        return WORKER_EXIT_IMAGE;
    }
    return 0;
}

static int take_perf_map(void *command, const char *value)
{
    (void)value;
    ((struct run_command *)command)->worker.perf_map = true;
    return 0;
}

static int take_code_memory(void *command, const char *value)
{
    uint64_t size = 0;

    if (size_parse(value, &size) < 0 || size < ENGINE_CODE_MEMORY_MIN || size > UINT32_MAX)
        return usage_error("code-memory", value, "a size from 8M to below 4G is wanted");
    ((struct run_command *)command)->worker.machine.code_memory = size;
    return 0;
}

static int take_engine_stats(void *command, const char *value)
{
    (void)value;
    ((struct run_command *)command)->worker.machine.statistics = stderr;
    return 0;
}

static int take_serial(void *command, const char *value)
{
    struct serial_config *serial = &((struct run_command *)command)->worker.serial;

    if (strcmp(value, "stdio") == 0)
        *serial = (struct serial_config){.kind = SERIAL_STDIO};
    else if (strcmp(value, "pty") == 0)
        *serial = (struct serial_config){.kind = SERIAL_PTY};
    else if (strcmp(value, "none") == 0)
        *serial = (struct serial_config){.kind = SERIAL_NONE};
    else if (strncmp(value, "file:", 5) == 0 && value[5] != '\0')
        *serial = (struct serial_config){.kind = SERIAL_FILE, .path = value + 5};
    else
        return usage_error("serial", value, "stdio, file:PATH, pty or none is wanted");
    return 0;
}

static int take_drive(struct run_command *run, const char *value, bool dvd)
{
    struct worker_config *worker = &run->worker;
    struct reason reason = {0};

    if (worker->disk_count == WORKER_MAX_DISKS) {
        cli_error("run: more than %d disks", WORKER_MAX_DISKS);
        return CLI_EXIT_USAGE;
    }
    char *words = strdup(value);
    if (words == NULL) {
        cli_error("out of memory");
        return WORKER_EXIT_FAILED;
    }
    run->disk_words[worker->disk_count] = words;
    struct worker_disk *disk = &worker->disks[worker->disk_count++];
    if (disk_option_parse(words, dvd, disk, &reason))
        return 0;
    return usage_error(dvd ? "dvd" : "disk", value, reason.text);
}

static int take_disk(void *command, const char *value)
{
    return take_drive(command, value, false);
}

static int take_dvd(void *command, const char *value)
{
    return take_drive(command, value, true);
}

static int take_net(void *command, const char *value)
{
    struct run_command *run = command;
    struct worker_config *worker = &run->worker;
    struct reason reason = {0};
    bool none = false;

    if (worker->card_count == WORKER_MAX_CARDS) {
        cli_error("run: more than %d network cards", WORKER_MAX_CARDS);
        return CLI_EXIT_USAGE;
    }
    char *words = strdup(value);
    if (words == NULL) {
        cli_error("out of memory");
        return WORKER_EXIT_FAILED;
    }
    free(run->net_words[worker->card_count]);
    run->net_words[worker->card_count] = words;
    if (!net_option_parse(words, &worker->cards[worker->card_count], &none, &reason))
        return usage_error("net", value, reason.text);
    run->no_card |= none;
    worker->card_count += !none;
    return 0;
}

static int take_no_hyperv(void *command, const char *value)
{
    (void)value;
    ((struct run_command *)command)->worker.machine.hyperv = false;
    return 0;
}

static int take_input(void *command, const char *value)
{
    (void)value;
    ((struct run_command *)command)->worker.machine.input = true;
    return 0;
}

/* One that looks at a screen wants to type as well. */
static int take_video(void *command, const char *value)
{
    struct machine_config *machine = &((struct run_command *)command)->worker.machine;
    unsigned width = 0;
    unsigned height = 0;

    if (!place_parse_two(value, 'x', &width, &height) || !machine_video_fits(width, height))
        return usage_error("video", value, "WIDTHxHEIGHT is wanted, from 640x480 to 4096x4096");
    machine->video_width = width;
    machine->video_height = height;
    machine->input = true;
    return 0;
}

static int take_integration(void *command, const char *value)
{
    struct worker_config *worker = &((struct run_command *)command)->worker;
    struct reason reason = {0};

    if (machine_parse_integration(value, &worker->machine.integration, &reason))
        return 0;
    return usage_error("integration", value, reason.text);
}

static int take_name(void *command, const char *value)
{
    if (!control_name_is_valid(value))
        return usage_error("name", value,
                           "letters, digits, '.', '_' and '-' are wanted, at most 63");
    ((struct run_command *)command)->worker.name = value;
    return 0;
}

static int take_symbols(void *command, const char *value)
{
    ((struct run_command *)command)->worker.symbols_path = value;
    return 0;
}

static int take_debug_exit(void *command, const char *value)
{
    (void)value;
    ((struct run_command *)command)->worker.machine.debug_exit = true;
    return 0;
}

static int take_test_devices(void *command, const char *value)
{
    (void)value;
    ((struct run_command *)command)->worker.machine.test_devices = true;
    return 0;
}

static int take_no_reboot(void *command, const char *value)
{
    (void)value;
    ((struct run_command *)command)->worker.machine.end_on_reset = true;
    return 0;
}

static int take_help(void *command, const char *value)
{
    (void)value;
    ((struct run_command *)command)->help = true;
    return 0;
}

const struct cli_option run_options[] = {
    {"kernel", 'k', CLI_FILE, "FILE", NULL, "bzImage, ELF (PVH or vmlinux) or multiboot image",
     take_kernel},
    {"initrd", 'i', CLI_FILE, "FILE", NULL, "initial RAM disk", take_initrd},
    {"append", 'a', CLI_TEXT, "TEXT", NULL, "command line of the kernel", take_append},
    {"module", 0, CLI_FILE, "FILE[,ARGS]", NULL, "multiboot module; may be repeated", take_module},
    {"disk", 'd', CLI_FILE, "FILE[,ro][,at=C:L][,serial=TEXT]", NULL,
     "disk image or block device; may be repeated", take_disk},
    {"dvd", 0, CLI_FILE, "FILE[,at=C:L]", NULL, "DVD drive with an image; may be repeated",
     take_dvd},
    {"net", 0, CLI_TEXT, "KIND[,mac=..][,forward=tcp:H:G]..", NULL,
     "nat, switch=NAME, tap:NAME, socket:PATH or none", take_net},
    {"memory", 'm', CLI_TEXT, "SIZE", NULL, "guest memory, as 512M or 2G (default 512M)",
     take_memory},
    {"memory-min", 0, CLI_TEXT, "SIZE", NULL,
     "dynamic memory: no less (default: what --memory says)", take_memory_min},
    {"memory-max", 0, CLI_TEXT, "SIZE", NULL,
     "dynamic memory: no more (default: what --memory says)", take_memory_max},
    {"memory-buffer", 0, CLI_TEXT, "PERCENT", NULL,
     "of its demand in reserve, 5 to 2000 (default 20)", take_memory_buffer},
    {"memory-weight", 0, CLI_TEXT, "N", NULL, "against others, 1 to 10000 (default 5000)",
     take_memory_weight},
    {"cpus", 'c', CLI_TEXT, "N", NULL, "processors, 1 to 64 (default 1)", take_cpus},
    {"engine", 0, CLI_WORDS, "auto|kvm|soft", "auto kvm soft", "what runs them (default auto)",
     take_engine},
    {"cpu", 0, CLI_WORDS, "LEVEL", "x86-64-v2 x86-64-v3 host",
     "x86-64-v2, x86-64-v3 or host (default x86-64-v3)", take_cpu},
    {"serial", 0, CLI_WORDS, "WHERE", "stdio file: pty none",
     "stdio, file:PATH, pty or none (default stdio)", take_serial},
    {"name", 'n', CLI_TEXT, "NAME", NULL, "under which partita list and others find it", take_name},
    {"symbols", 0, CLI_FILE, "FILE", NULL, "System.map or ELF file: names for a crash and for perf",
     take_symbols},
    {"no-hyperv", 0, CLI_FLAG, NULL, NULL, "no Hyper-V for the guest, so no disks", take_no_hyperv},
    {"input", 0, CLI_FLAG, NULL, NULL, "a keyboard and a mouse for the guest", take_input},
    {"video", 0, CLI_WORDS, "SIZE", "1024x768 1280x720 1280x1024 1920x1080",
     "a screen of so many pixels, as 1024x768; with --input", take_video},
    {"integration", 0, CLI_WORDS, "LIST", "all none heartbeat shutdown timesync kvp vss fcopy",
     "integration services (default all but fcopy)", take_integration},
    {"no-reboot", 0, CLI_FLAG, NULL, NULL, "end when the guest resets itself", take_no_reboot},
    {"translate", 0, CLI_WORDS, "WHICH", "hot always never lockstep lockstep:",
     "hot, always, never or lockstep (default hot)", take_translate},
    {"code-memory", 0, CLI_TEXT, "SIZE", NULL, "for decoded and translated code (default 256M)",
     take_code_memory},
    {"engine-stats", 0, CLI_FLAG, NULL, NULL, "at the end, what the engine did", take_engine_stats},
    {"trace-code", 0, CLI_FILE, "FILE", NULL, "write what is translated there", take_trace_code},
    {"perf-map", 0, CLI_FLAG, NULL, NULL, "name what is translated for perf(1)", take_perf_map},
    {"debug-exit", 0, CLI_FLAG, NULL, NULL, "a write to port 0xf4 ends the guest", take_debug_exit},
    {"test-devices", 0, CLI_FLAG, NULL, NULL, "what bare-metal test images expect",
     take_test_devices},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

/* The word that people leave an option out for is a disk's. */
static int take_word(void *command, const char *word)
{
    (void)command;
    cli_error("run: '%s' is one word too many; did you mean --disk %s?", word, word);
    return CLI_EXIT_USAGE;
}

static void print_help(void)
{
    (void)puts("Usage: partita run --disk FILE [OPTION]...\n"
               "       partita run --kernel FILE [OPTION]...\n"
               "Boot a guest in this process; its serial port is this terminal.\n");
    cli_print_options(stdout, run_options);
    (void)puts("\n"
               "^] leaves and switches the guest off; Ctrl-C goes to the guest.\n"
               "\n"
               "Exit codes: 0 the guest switched itself off, 1 engine or host failed, 2 usage,\n"
               "3 file or image, 4 the host cannot give what was asked, 10 guest crashed,\n"
               "11 left with ^], 12 ended by a signal, 13 reset with --no-reboot,\n"
               "14 stopped by order;\n"
               "with --debug-exit, what the guest said.\n"
               "\n"
               "Examples:\n"
               "  partita run --disk root.vhdx -m 1G -c 2 --name web\n"
               "  partita run -k vmlinuz -i initrd.img -a 'console=ttyS0' -m 1G -c 2\n"
               "  partita run -k memtest.bin -m 64M\n"
               "  partita run -k test.flat --debug-exit --test-devices </dev/null");
}

/* The process of the switches, when a card is one's. */
static int start_switches(const struct worker_config *worker, struct reason *reason)
{
    for (size_t i = 0; i < worker->card_count; i++) {
        if (worker->cards[i].kind == WORKER_CARD_SWITCH)
            return switchd_start(reason);
    }
    return 0;
}

static int boot_guest(struct run_command *run)
{
    struct reason reason = {0};

    if (memory_option_complete(&run->worker, &reason) < 0) {
        cli_error("run: %s", reason.text);
        return CLI_EXIT_USAGE;
    }
    if (!run->worker.machine.hyperv && run->worker.disk_count > 0) {
        cli_error("run: a guest without Hyper-V sees no disks; --no-hyperv and --disk exclude"
                  " each other");
        return CLI_EXIT_USAGE;
    }
    if (!run->worker.machine.hyperv && run->worker.card_count > 0) {
        cli_error("run: a guest without Hyper-V sees no network; --no-hyperv and --net exclude"
                  " each other");
        return CLI_EXIT_USAGE;
    }
    if (!run->worker.machine.hyperv && run->worker.machine.input) {
        cli_error(
            "run: a guest without Hyper-V has no synthetic devices; --no-hyperv and --input or"
            " --video exclude each other");
        return CLI_EXIT_USAGE;
    }
    if (run->worker.name == NULL && run->worker.machine.video_width != 0) {
        cli_error("run: a screen is looked at by the partition's name: --video needs --name");
        return CLI_EXIT_USAGE;
    }
    run->worker.usual_card = run->worker.disk_count > 0 && run->worker.card_count == 0 &&
                             !run->no_card && run->worker.machine.hyperv;
    if (run->worker.kernel_path == NULL && run->worker.disk_count == 0) {
        cli_error("run: --kernel FILE or --disk FILE is missing; try 'partita run --help'");
        return CLI_EXIT_USAGE;
    }
    run->worker.machine.engine = engine_choose(run->engine, &reason);
    if (run->worker.machine.engine == NULL) {
        cli_error("no engine: %s", reason.text);
        return WORKER_EXIT_REFUSED;
    }
    if (start_switches(&run->worker, &reason) < 0) {
        cli_error("run: %s", reason.text);
        return WORKER_EXIT_REFUSED;
    }
    return worker_run(&run->worker);
}

int run_main(int argc, char **argv)
{
    struct run_command run = {
        .engine = ENGINE_CHOICE_AUTO,
        .worker.machine =
            {
                .cpu_level = ENGINE_CPU_V3,
                .vcpu_count = 1,
                .memory_size = (uint64_t)DEFAULT_MEMORY_MIB * MIB,
                .hyperv = true,
                .integration = machine_default_integration(),
                .boot.command_line = "",
            },
    };

    int code = cli_parse_words(run_options, argc, argv, &run, take_word);
    if (code == 0 && run.help)
        print_help();
    else if (code == 0)
        code = boot_guest(&run);
    for (size_t i = 0; i < run.worker.module_count; i++)
        free(run.module_words[i]);
    for (size_t i = 0; i < run.worker.disk_count; i++)
        free(run.disk_words[i]);
    for (size_t i = 0; i < WORKER_MAX_CARDS; i++)
        free(run.net_words[i]);
    return code;
}
