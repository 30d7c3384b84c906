/*
 * What the engine cannot do itself it asks of the caller of run(). The instruction that asks is run
 * again from its start once the answer is there; answers already given are kept in cpu->reply and
 * taken in the same order.
 */
#include "engine/soft/cpu.h"

static struct reply *take_reply(struct cpu *cpu, enum engine_exit_kind kind, uint64_t address)
{
    if (cpu->reply_used == cpu->reply_count)
        return NULL;
    struct reply *reply = &cpu->reply[cpu->reply_used];
    /* Another vCPU may have rewritten memory that the instruction reads, so that it asks something
     * else. */
    if (reply->kind != kind || reply->address != address) {
        cpu->reply_count = cpu->reply_used;
        return NULL;
    }
    cpu->reply_used++;
    return reply;
}

static void ask(struct cpu *cpu, enum engine_exit_kind kind, uint64_t address, unsigned size,
                uint64_t value)
{
    struct engine_exit *exit = cpu->exit;
    exit->kind = kind;
    switch (kind) {
    case ENGINE_EXIT_PORT_READ:
    case ENGINE_EXIT_PORT_WRITE:
        exit->port.port = (uint16_t)address;
        exit->port.size = (uint8_t)size;
        exit->port.value = (uint32_t)value;
        break;
    case ENGINE_EXIT_MSR_READ:
    case ENGINE_EXIT_MSR_WRITE:
        exit->msr.index = (uint32_t)address;
        exit->msr.value = value;
        exit->msr.refused = false;
        exit->msr.halt = false;
        break;
    default:
        exit->mmio.gpa = address;
        exit->mmio.size = (uint8_t)size;
        exit->mmio.value = value;
        break;
    }
}

/* More questions than one instruction may have: only a hostile page table can get here. */
static int too_many(struct cpu *cpu)
{
    cpu->reply_count = 0;
    cpu->reply_used = 0;
    return fault_code(cpu, VECTOR_GP, 0);
}

int exit_read(struct cpu *cpu, enum engine_exit_kind kind, uint64_t address, unsigned size,
              uint64_t *ret)
{
    struct reply *reply = take_reply(cpu, kind, address);
    if (reply == NULL) {
        if (cpu->reply_count == CPU_MAX_REPLIES)
            return too_many(cpu);
        ask(cpu, kind, address, size, 0);
        return STEP_EXIT;
    }
    if (reply->refused)
        return fault_code(cpu, VECTOR_GP, 0);
    *ret = size == 8 ? reply->value : reply->value & ((UINT64_C(1) << (size * 8)) - 1);
    return STEP_NEXT;
}

int exit_write(struct cpu *cpu, enum engine_exit_kind kind, uint64_t address, unsigned size,
               uint64_t value)
{
    struct reply *reply = take_reply(cpu, kind, address);
    if (reply == NULL) {
        if (cpu->reply_count == CPU_MAX_REPLIES)
            return too_many(cpu);
        ask(cpu, kind, address, size, value);
        return STEP_EXIT;
    }
    return reply->refused ? fault_code(cpu, VECTOR_GP, 0) : STEP_NEXT;
}
