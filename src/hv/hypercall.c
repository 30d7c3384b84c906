/*
 * Hypercalls: TLFS, "Hypercall Interface". decode_…() reads and checks what a call was given, once;
 * perform_…() then does it. Repeated calls are done to their end: none has more than 4095 elements.
 */
#include <sched.h>
#include <string.h>

#include "base/bytes.h"
#include "hv/hv_private.h"

/* Fields of the input value. */
enum {
    CONTROL_FAST = 1 << 16,
    CONTROL_HEADER_SHIFT = 17,
    CONTROL_HEADER_MASK = 0x3ff, /* in 8 bytes */
    CONTROL_COUNT_SHIFT = 32,
    CONTROL_START_SHIFT = 48,
    CONTROL_REP_MASK = 0xfff,
    RESULT_COUNT_SHIFT = 32,
};
#define CONTROL_RESERVED UINT64_C(0xf000f000f8000000)

enum {
    FAST_BYTES = 16,         /* in two registers */
    XMM_BYTES = 16 + 6 * 16, /* and in XMM0 to XMM5 */
    INPUT_ALIGNMENT = 8,
    OUTPUT_BYTES = 8, /* of every call that has an output */
};

enum hypercall_code {
    CALL_FLUSH_SPACE = 0x0002,
    CALL_FLUSH_LIST = 0x0003,
    CALL_LONG_SPIN_WAIT = 0x0008,
    CALL_SEND_IPI = 0x000b,
    CALL_FLUSH_SPACE_EX = 0x0013,
    CALL_FLUSH_LIST_EX = 0x0014,
    CALL_SEND_IPI_EX = 0x0015,
    CALL_GET_PARTITION_ID = 0x0046,
    CALL_POST_MESSAGE = 0x005c,
    CALL_SIGNAL_EVENT = 0x005d,
    CALL_QUERY_CAPABILITIES = 0x8001,
    CALL_MEMORY_HEAT_HINT = 0x8003,
};

/* A call, its input read and its registers told apart from the mode of the caller. */
struct input {
    uint16_t code;
    bool fast;
    unsigned header;       /* bytes of the variable header */
    unsigned count, start; /* of a repeated call */
    uint64_t input_gpa, output_gpa;
    size_t length; /* of `bytes` */
    uint8_t bytes[MEM_PAGE_SIZE];
};

struct call {
    enum hypercall_code code;
    enum hv_privilege_bit privilege;
    uint16_t fixed;   /* bytes of the fixed header */
    uint16_t element; /* bytes of an element; 0: not repeated */
    bool variable;    /* has a variable header: sets of processors */
    enum hv_status (*perform)(struct hv_vp *vp, const struct input *input);
    uint64_t (*query)(const struct hv_vp *vp); /* instead: its answer goes to the output */
};

/* ---- sets of processors ---- */

enum { SET_SPARSE = 0, SET_ALL = 1, BANKS = 64, BANK_BYTES = 8 };

static uint64_t all_vps(const struct hv *hv)
{
    return hv->vp_count == 64 ? UINT64_MAX : (UINT64_C(1) << hv->vp_count) - 1;
}

/*
 * HV_VP_SET at `at`: a format, a mask of banks, a word for each (TLFS, "Virtual Processor Sets").
 * Processors that there are not are no error in a set.
 */
static bool decode_set(const struct hv *hv, const struct input *input, size_t at, uint64_t *ret)
{
    uint64_t format = get_le64(input->bytes + at);
    uint64_t banks = get_le64(input->bytes + at + 8);

    *ret = all_vps(hv);
    if (format == SET_ALL)
        return true;
    if (format != SET_SPARSE || input->header != (unsigned)__builtin_popcountll(banks) * BANK_BYTES)
        return false;
    *ret &= (banks & 1) != 0 ? get_le64(input->bytes + at + 16) : 0;
    return true;
}

/* ---- TLBs: TLFS, "HvCallFlushVirtualAddressSpace" and its kin ---- */

enum { FLUSH_ALL_PROCESSORS = 1 << 0, FLUSH_FLAGS = 0xf };

/* Everything is flushed, whatever the call names: flushing more is always allowed. */
static enum hv_status flush(struct hv_vp *vp, uint64_t flags, uint64_t set)
{
    const struct hv_host *host = &vp->hv->host;

    if ((flags & ~(uint64_t)FLUSH_FLAGS) != 0)
        return HV_STATUS_INVALID_PARAMETER;
    if (flags & FLUSH_ALL_PROCESSORS)
        set = all_vps(vp->hv);
    if ((set & all_vps(vp->hv)) != 0)
        host->flush_tlb(host->owner, set & all_vps(vp->hv));
    return HV_STATUS_SUCCESS;
}

static enum hv_status perform_flush(struct hv_vp *vp, const struct input *input)
{
    return flush(vp, get_le64(input->bytes + 8), get_le64(input->bytes + 16));
}

static enum hv_status perform_flush_ex(struct hv_vp *vp, const struct input *input)
{
    uint64_t set;

    if (!decode_set(vp->hv, input, 16, &set))
        return HV_STATUS_INVALID_PARAMETER;
    return flush(vp, get_le64(input->bytes + 8), set);
}

/* ---- interrupts: TLFS, "HvCallSendSyntheticClusterIpi" ---- */

enum { LEAST_VECTOR = 16, MOST_VECTOR = 255 };

static enum hv_status send_ipi(struct hv_vp *vp, const uint8_t *bytes, uint64_t set)
{
    const struct hv_host *host = &vp->hv->host;
    uint32_t vector = get_le32(bytes);
    uint32_t target_vtl = get_le32(bytes + 4);

    if (vector < LEAST_VECTOR || vector > MOST_VECTOR || target_vtl != 0)
        return HV_STATUS_INVALID_PARAMETER;
    for (unsigned i = 0; i < vp->hv->vp_count; i++) {
        if (set >> i & 1)
            host->interrupt(host->owner, i, (uint8_t)vector, false);
    }
    return HV_STATUS_SUCCESS;
}

static enum hv_status perform_ipi(struct hv_vp *vp, const struct input *input)
{
    return send_ipi(vp, input->bytes, get_le64(input->bytes + 8));
}

static enum hv_status perform_ipi_ex(struct hv_vp *vp, const struct input *input)
{
    uint64_t set;

    if (!decode_set(vp->hv, input, 8, &set))
        return HV_STATUS_INVALID_PARAMETER;
    return send_ipi(vp, input->bytes, set);
}

/* ---- messages and events ---- */

static enum hv_status perform_post_message(struct hv_vp *vp, const struct input *input)
{
    struct hv_message message = {.type = get_le32(input->bytes + 8)};
    uint32_t length = get_le32(input->bytes + 12);

    /* The top bit marks the hypervisor's own messages. */
    if (length > HV_MESSAGE_PAYLOAD || message.type == 0 || message.type >> 31 != 0)
        return HV_STATUS_INVALID_PARAMETER;
    message.length = (uint8_t)length;
    memcpy(message.payload, input->bytes + 16, length);
    return port_message(vp->hv, get_le32(input->bytes), &message);
}

static enum hv_status perform_signal_event(struct hv_vp *vp, const struct input *input)
{
    if (get_le16(input->bytes + 6) != 0)
        return HV_STATUS_INVALID_PARAMETER;
    return port_event(vp->hv, get_le32(input->bytes), get_le16(input->bytes + 4));
}

/* ---- the rest ---- */

static enum hv_status perform_spin_wait(struct hv_vp *vp, const struct input *input)
{
    (void)vp;
    (void)input;
    (void)sched_yield();
    return HV_STATUS_SUCCESS;
}

enum { PARTITION_ID = 2 }; /* the parent's is 1 */

static uint64_t get_partition_id(const struct hv_vp *vp)
{
    (void)vp;
    return PARTITION_ID;
}

enum { CAPABILITY_COLD_DISCARD = 1 << 8 };

static uint64_t query_capabilities(const struct hv_vp *vp)
{
    return vp->hv->host.discard != NULL ? CAPABILITY_COLD_DISCARD : 0;
}

/* ---- memory that the guest does not use: Linux hv_balloon.c, hv_free_page_report() ---- */

enum {
    HINT_COLD_DISCARD = 2, /* the bytes are not needed any more */
    HINT_RANGES = 8,
    RANGE_MORE = 0x7ff, /* pages beyond the first */
    RANGE_LARGE = 1 << 11,
    RANGE_LARGE_RESERVED = 0x1ff000, /* and bit 12: pages of 1 GiB, which nobody reports */
    LARGE_PAGE = 0x200000,
};

static bool decode_hint(const struct hv *hv, uint64_t range, uint64_t *ret_gpa,
                        uint64_t *ret_length)
{
    bool large = (range & RANGE_LARGE) != 0;
    uint64_t page = large ? LARGE_PAGE : MEM_PAGE_SIZE;

    if (large && (range & RANGE_LARGE_RESERVED) != 0)
        return false;
    *ret_gpa = range & ~(page - 1);
    *ret_length = ((range & RANGE_MORE) + 1) * page;
    return mem_is_ram(hv->mem, *ret_gpa, *ret_length);
}

/* All ranges are checked before the first is discarded. */
static enum hv_status perform_heat_hint(struct hv_vp *vp, const struct input *input)
{
    const struct hv_host *host = &vp->hv->host;
    uint64_t gpa = 0;
    uint64_t length = 0;

    if (host->discard == NULL || get_le64(input->bytes) != HINT_COLD_DISCARD)
        return HV_STATUS_INVALID_PARAMETER;
    for (unsigned i = 0; i < input->count; i++) {
        if (!decode_hint(vp->hv, get_le64(input->bytes + HINT_RANGES + (size_t)i * 8), &gpa,
                         &length))
            return HV_STATUS_INVALID_PARAMETER;
    }
    for (unsigned i = input->start; i < input->count; i++) {
        (void)decode_hint(vp->hv, get_le64(input->bytes + HINT_RANGES + (size_t)i * 8), &gpa,
                          &length);
        host->discard(host->owner, gpa, length);
    }
    return HV_STATUS_SUCCESS;
}

static const struct call calls[] = {
    {CALL_FLUSH_SPACE, HV_ALWAYS, 24, 0, false, perform_flush, NULL},
    {CALL_FLUSH_LIST, HV_ALWAYS, 24, 8, false, perform_flush, NULL},
    {CALL_LONG_SPIN_WAIT, HV_ALWAYS, 8, 0, false, perform_spin_wait, NULL},
    {CALL_SEND_IPI, HV_ALWAYS, 16, 0, false, perform_ipi, NULL},
    {CALL_FLUSH_SPACE_EX, HV_ALWAYS, 32, 0, true, perform_flush_ex, NULL},
    {CALL_FLUSH_LIST_EX, HV_ALWAYS, 32, 8, true, perform_flush_ex, NULL},
    {CALL_SEND_IPI_EX, HV_ALWAYS, 24, 0, true, perform_ipi_ex, NULL},
    {CALL_GET_PARTITION_ID, HV_PARTITION_ID, 0, 0, false, NULL, get_partition_id},
    {CALL_POST_MESSAGE, HV_POST_MESSAGES, 256, 0, false, perform_post_message, NULL},
    {CALL_SIGNAL_EVENT, HV_SIGNAL_EVENTS, 8, 0, false, perform_signal_event, NULL},
    {CALL_QUERY_CAPABILITIES, HV_EXTENDED_HYPERCALLS, 0, 0, false, NULL, query_capabilities},
    {CALL_MEMORY_HEAT_HINT, HV_EXTENDED_HYPERCALLS, 8, 8, false, perform_heat_hint, NULL},
};

static const struct call *find(uint16_t code)
{
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        if (calls[i].code == code)
            return &calls[i];
    }
    return NULL;
}

/* ---- decoding ---- */

static uint64_t join(uint64_t high, uint64_t low)
{
    return high << 32 | (uint32_t)low;
}

static uint64_t control_of(const struct hv_call *call)
{
    return call->long_mode ? call->rcx : join(call->rdx, call->rax);
}

static void decode_registers(const struct hv_call *call, struct input *ret)
{
    uint64_t control = control_of(call);

    ret->code = (uint16_t)control;
    ret->fast = (control & CONTROL_FAST) != 0;
    ret->header = (unsigned)(control >> CONTROL_HEADER_SHIFT & CONTROL_HEADER_MASK) * 8;
    ret->count = (unsigned)(control >> CONTROL_COUNT_SHIFT & CONTROL_REP_MASK);
    ret->start = (unsigned)(control >> CONTROL_START_SHIFT & CONTROL_REP_MASK);
    ret->input_gpa = call->long_mode ? call->rdx : join(call->rbx, call->rcx);
    ret->output_gpa = call->long_mode ? call->r8 : join(call->rdi, call->rsi);
}

/* What the control word may say of this call. */
static enum hv_status decode_control(const struct call *call, uint64_t control, struct input *ret)
{
    bool repeated = call->element != 0;

    if ((control & CONTROL_RESERVED) != 0 || (ret->header != 0 && !call->variable))
        return HV_STATUS_INVALID_HYPERCALL_INPUT;
    if (repeated ? ret->count == 0 || ret->start >= ret->count : ret->count != 0 || ret->start != 0)
        return HV_STATUS_INVALID_HYPERCALL_INPUT;
    ret->length = (size_t)call->fixed + ret->header + (size_t)ret->count * call->element;
    if (ret->length > (ret->fast ? (size_t)XMM_BYTES : sizeof(ret->bytes)) ||
        (ret->fast && call->query != NULL))
        return HV_STATUS_INVALID_HYPERCALL_INPUT;
    return HV_STATUS_SUCCESS;
}

/* A parameter block lies in one page of RAM, 8-byte aligned. */
static enum hv_status check_block(const struct hv *hv, uint64_t gpa, size_t length)
{
    if (gpa % INPUT_ALIGNMENT != 0 || gpa % MEM_PAGE_SIZE + length > MEM_PAGE_SIZE)
        return HV_STATUS_INVALID_ALIGNMENT;
    return mem_is_ram(hv->mem, gpa, length) ? HV_STATUS_SUCCESS : HV_STATUS_INVALID_PARAMETER;
}

static enum hv_status read_input(const struct hv *hv, const struct hv_call *call, struct input *ret)
{
    if (ret->length == 0)
        return HV_STATUS_SUCCESS;
    if (ret->fast) {
        put_le64(ret->bytes, ret->input_gpa);
        put_le64(ret->bytes + 8, ret->output_gpa);
        memcpy(ret->bytes + FAST_BYTES, call->xmm, sizeof(call->xmm));
        return HV_STATUS_SUCCESS;
    }
    enum hv_status status = check_block(hv, ret->input_gpa, ret->length);
    if (status == HV_STATUS_SUCCESS &&
        mem_read(hv->mem, ret->input_gpa, ret->bytes, ret->length) < 0)
        status = HV_STATUS_INVALID_PARAMETER;
    return status;
}

static enum hv_status decode(const struct hv *hv, const struct call *known,
                             const struct hv_call *call, struct input *ret)
{
    if (known == NULL)
        return HV_STATUS_INVALID_HYPERCALL_CODE;
    if (!hv_may(hv, known->privilege))
        return HV_STATUS_ACCESS_DENIED;
    enum hv_status status = decode_control(known, control_of(call), ret);
    if (status == HV_STATUS_SUCCESS)
        status = read_input(hv, call, ret);
    if (status == HV_STATUS_SUCCESS && known->query != NULL)
        status = check_block(hv, ret->output_gpa, OUTPUT_BYTES);
    return status;
}

bool hv_call_uses_xmm(const struct hv *hv, const struct hv_call *call)
{
    struct input input;
    (void)hv;
    decode_registers(call, &input);
    const struct call *known = find(input.code);
    if (known == NULL || !input.fast)
        return false;
    return known->fixed + input.header + (size_t)input.count * known->element > FAST_BYTES;
}

static void answer(struct hv_call *call, const struct input *input, enum hv_status status)
{
    uint64_t result = status;

    if (status == HV_STATUS_SUCCESS)
        result |= (uint64_t)input->count << RESULT_COUNT_SHIFT;
    call->rax = result;
    if (!call->long_mode) {
        call->rax = (uint32_t)result;
        call->rdx = result >> 32;
    }
}

static enum hv_status answer_query(const struct hv_vp *vp, const struct call *known,
                                   const struct input *input)
{
    uint8_t output[OUTPUT_BYTES];

    put_le64(output, known->query(vp));
    return mem_write(vp->hv->mem, input->output_gpa, output, sizeof(output)) == 0
               ? HV_STATUS_SUCCESS
               : HV_STATUS_INVALID_PARAMETER;
}

void hv_hypercall(struct hv *hv, unsigned vp, struct hv_call *call)
{
    struct input input;

    decode_registers(call, &input);
    const struct call *known = find(input.code);
    enum hv_status status = decode(hv, known, call, &input);
    if (status == HV_STATUS_SUCCESS)
        status = known->query != NULL ? answer_query(&hv->vps[vp], known, &input)
                                      : known->perform(&hv->vps[vp], &input);
    answer(call, &input, status);
}
