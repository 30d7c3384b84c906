/*
 * Invariant: whatever a guest puts into registers and memory, a hypercall ends with a status that
 * the specification knows, and reaches processors and memory that there are only.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "hv/hv_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VPS = 3, RAM = 0x100000, REGISTERS = 56, XMM = 96, INPUT_AT = 0x1000 };

static void interrupt(void *owner, unsigned vp, uint8_t vector, bool auto_eoi)
{
    (void)auto_eoi;
    (void)owner;
    if (vp >= VPS || vector < 16)
        abort();
}

static void set_timer(void *owner, unsigned vp, uint64_t deadline_ns)
{
    (void)owner;
    (void)vp;
    (void)deadline_ns;
}

static void flush(void *owner, uint64_t vp_set)
{
    (void)owner;
    if (vp_set == 0 || vp_set >> VPS != 0)
        abort();
}

static enum hv_status message(void *owner, const struct hv_message *sent)
{
    (void)owner;
    if (sent->length > HV_MESSAGE_PAYLOAD || sent->type == 0)
        abort();
    return HV_STATUS_INSUFFICIENT_BUFFERS;
}

static enum hv_status event(void *owner, uint16_t flag)
{
    (void)owner;
    (void)flag;
    return HV_STATUS_SUCCESS;
}

static struct hv *hv;
static struct mem *mem;

static void discard(void *owner, uint64_t gpa, uint64_t length)
{
    (void)owner;
    if (length == 0 || !mem_is_ram(mem, gpa, length) || (gpa | length) % MEM_PAGE_SIZE != 0)
        abort();
}

static void set_up(void)
{
    struct hv_config config = {
        .host = {.interrupt = interrupt,
                 .set_timer = set_timer,
                 .flush_tlb = flush,
                 .discard = discard},
        .vp_count = VPS,
        .tsc_hz = 1000000000,
        .privileges = UINT64_MAX,
    };
    const struct hv_port port = {.message = message, .event = event};
    if (mem_create(RAM, RAM, &mem) < 0)
        abort();
    config.mem = mem;
    if (hv_create(&config, &hv, NULL) < 0 || hv_port_connect(hv, 1, &port) < 0)
        abort();
}

static bool is_known(uint16_t status)
{
    switch (status) {
    case HV_STATUS_SUCCESS:
    case HV_STATUS_INVALID_HYPERCALL_CODE:
    case HV_STATUS_INVALID_HYPERCALL_INPUT:
    case HV_STATUS_INVALID_ALIGNMENT:
    case HV_STATUS_INVALID_PARAMETER:
    case HV_STATUS_INVALID_CONNECTION_ID:
    case HV_STATUS_INSUFFICIENT_BUFFERS:
        return true;
    default:
        return false;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hv_call call = {0};

    if (hv == NULL)
        set_up();
    if (size < 1 + REGISTERS)
        return 0;
    call.long_mode = (data[0] & 1) != 0;
    uint64_t *const registers[] = {&call.rax, &call.rbx, &call.rcx, &call.rdx,
                                   &call.rsi, &call.rdi, &call.r8};
    for (size_t i = 0; i < 7; i++)
        *registers[i] = get_le64(data + 1 + i * 8);
    size_t left = size - 1 - REGISTERS;
    memcpy(call.xmm, data + 1 + REGISTERS, left < XMM ? left : XMM);
    if (mem_write(mem, INPUT_AT, data + 1 + REGISTERS, left < 0x1000 ? left : 0x1000) < 0)
        abort();
    (void)hv_call_uses_xmm(hv, &call);
    hv_hypercall(hv, 0, &call);
    if (!is_known((uint16_t)call.rax))
        abort();
    return 0;
}
