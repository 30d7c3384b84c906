#include "engine/soft/stats.h"

#include <inttypes.h>

#include "engine/soft/code_private.h"
#include "engine/soft/partition.h"

static const char *const exit_names[STATS_EXITS] = {
    [ENGINE_EXIT_KICKED] = "kicked",          [ENGINE_EXIT_PORT_READ] = "port reads",
    [ENGINE_EXIT_PORT_WRITE] = "port writes", [ENGINE_EXIT_MMIO_READ] = "MMIO reads",
    [ENGINE_EXIT_MMIO_WRITE] = "MMIO writes", [ENGINE_EXIT_MSR_READ] = "MSR reads",
    [ENGINE_EXIT_MSR_WRITE] = "MSR writes",   [ENGINE_EXIT_HYPERCALL] = "hypercalls",
    [ENGINE_EXIT_EOI] = "ends of interrupt",  [ENGINE_EXIT_EXTINT] = "8259 vectors",
    [ENGINE_EXIT_SHUTDOWN] = "shutdowns",
};

void stats_sum(struct cpu_stats *sum, const struct cpu_stats *one)
{
    sum->entries += one->entries;
    sum->blocks += one->blocks;
    sum->handled += one->handled;
    sum->interpreted += one->interpreted;
    sum->refused += one->refused;
    sum->asked += one->asked;
    sum->fills += one->fills;
    sum->services += one->services;
    for (unsigned i = 0; i < STATS_EXITS; i++)
        sum->exits[i] += one->exits[i];
    sum->in_run += one->in_run;
    sum->in_translated += one->in_translated;
    sum->in_helpers += one->in_helpers;
    sum->in_interpreter += one->in_interpreter;
    sum->in_translator += one->in_translator;
}

static double percent(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : 100.0 * (double)part / (double)whole;
}

static void print_times(const struct cpu_stats *sum, uint64_t hz, FILE *to)
{
    uint64_t known =
        sum->in_translated + sum->in_helpers + sum->in_interpreter + sum->in_translator;
    (void)fprintf(to,
                  "engine: %.2f s in the engine: %.0f %% translated code, %.0f %% its helpers,"
                  " %.0f %% interpreter, %.0f %% translator, %.0f %% the rest\n",
                  (double)sum->in_run / (double)hz, percent(sum->in_translated, sum->in_run),
                  percent(sum->in_helpers, sum->in_run), percent(sum->in_interpreter, sum->in_run),
                  percent(sum->in_translator, sum->in_run),
                  percent(sum->in_run > known ? sum->in_run - known : 0, sum->in_run));
}

static void print_exits(const struct cpu_stats *sum, FILE *to)
{
    (void)fprintf(to, "engine: exits:");
    const char *comma = "";
    for (unsigned i = 0; i < STATS_EXITS; i++) {
        if (sum->exits[i] == 0 || exit_names[i] == NULL)
            continue;
        (void)fprintf(to, "%s %" PRIu64 " %s", comma, sum->exits[i], exit_names[i]);
        comma = ",";
    }
    (void)fprintf(to, "%s\n", *comma == '\0' ? " none" : "");
}

static void print_code(const struct code_stats *code, FILE *to)
{
    (void)fprintf(to,
                  "engine: blocks: %" PRIu64 " decoded, %" PRIu64 " translated (%" PRIu64
                  " bytes to %" PRIu64 "), %" PRIu64 " invalidated, %" PRIu64 " times all\n",
                  code->decoded, code->translated, code->guest_bytes, code->host_bytes,
                  code->invalidated, code->resets);
    (void)fprintf(to, "engine: links: %" PRIu64 " direct, %" PRIu64 " by the jump table\n",
                  code->links, code->far_links);
}

void stats_print(const struct soft_partition *partition, FILE *to)
{
    const struct cpu_stats *sum = &partition->stats;
    print_times(sum, partition->tsc_hz, to);
    print_code(&partition->code->stats, to);
    (void)fprintf(to,
                  "engine: from translated code: %" PRIu64
                  " instructions always interpreted, %" PRIu64 " after a failed check, %" PRIu64
                  " jumps asked for\n",
                  sum->interpreted, sum->refused, sum->asked);
    (void)fprintf(to,
                  "engine: %" PRIu64 " entries into translated code, %" PRIu64
                  " blocks interpreted, %" PRIu64 " instructions by handlers, %" PRIu64
                  " TLB misses, %" PRIu64 " looks at events\n",
                  sum->entries, sum->blocks, sum->handled, sum->fills, sum->services);
    print_exits(sum, to);
}
