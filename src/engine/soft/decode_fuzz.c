/*
 * Invariant: decode() of any bytes in any mode gives a handler and a length from 1 to 15, or says
 * that the bytes end too early; what the guest's CPUID does not show is undefined.
 *
 * The first byte chooses the mode, how many bytes are given and the RIP; the rest is code.
 */
#include "engine/soft/decode.h"

#include <stdlib.h>

#include "engine/soft/ops_integer.h"
#include "engine/soft/partition.h"
#include "engine/soft/thunk.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { MAX_LENGTH = 15 };

static const uint32_t modes[] = {
    MODE_LONG,
    MODE_LONG | MODE_USER,
    MODE_CODE32 | MODE_STACK32,
    MODE_CODE32 | MODE_STACK32 | MODE_USER,
    MODE_REAL,
    MODE_V86 | MODE_USER,
    MODE_STACK32,
    MODE_LONG | MODE_SINGLE,
};

static void must(bool good)
{
    if (!good)
        abort();
}

static struct soft_partition *shared_partition(void)
{
    static struct soft_partition *partition;
    if (partition != NULL)
        return partition;
    struct reason reason;
    partition = calloc(1, sizeof(*partition));
    must(partition != NULL);
    partition->config.cpu_level = ENGINE_CPU_V2;
    partition->config.vcpu_count = 1;
    must(cpuid_build(partition, &reason) == 0);
    return partition;
}

static struct decoder *shared_decoder(void)
{
    static struct decoder *decoder;
    if (decoder == NULL)
        must(decoder_create(shared_partition(), &decoder) == 0);
    return decoder;
}

static bool is_register_offset(uint8_t offset)
{
    return offset < GPR_COUNT * 8;
}

static void check_op(const struct op *op, unsigned available)
{
    must(op->run != NULL);
    must(op->length >= 1 && op->length <= MAX_LENGTH && op->length <= available);
    if (op->run == op_undefined || op->run == op_too_long)
        return;
    must(op->segment < CPU_SEGMENTS);
    must(op->base <= GPR_RIP && op->index <= GPR_ZERO && op->scale <= 3);
    must(is_register_offset(op->reg) && is_register_offset(op->rm));
    must(op->address_width == 2 || op->address_width == 4 || op->address_width == 8);
}

/* A thunk is made only of what the level of this partition has: nothing of VEX or EVEX here. */
static void check_thunk(const struct op *op, const uint8_t *code, uint32_t mode)
{
    bool vex = code[0] == 0x62 || ((mode & MODE_LONG) && (code[0] == 0xc4 || code[0] == 0xc5));
    must(op->thunk == NULL || !vex);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    if (length < 2)
        return 0;
    struct decoder *decoder = shared_decoder();
    uint32_t mode = modes[bytes[0] & 7];
    uint64_t rip = (bytes[0] & 8) ? UINT64_MAX - 7 : 0x1000;
    const uint8_t *code = bytes + 1;
    unsigned left = (unsigned)(length - 1 < 256 ? length - 1 : 256);
    while (left != 0) {
        struct op op;
        enum decode_result result = decode(decoder, code, left, rip, mode, &op);
        if (result == DECODE_TRUNCATED) {
            must(left < MAX_LENGTH);
            break;
        }
        if (result == DECODE_FULL) {
            decoder_reset(decoder);
            must(decode(decoder, code, left, rip, mode, &op) < DECODE_TRUNCATED);
        }
        check_op(&op, left);
        check_thunk(&op, code, mode);
        code += op.length;
        left -= op.length;
        rip += op.length;
    }
    return 0;
}
