/*
 * Thunks of one partition: made from decoded instructions, kept once each.
 *
 * The memory is a memfd mapped twice; nothing is ever both writable and executable at one address.
 * Each thunk is its struct followed by its code, on lines of its own, so that writing one never
 * disturbs a processor that runs another.
 */
#include "engine/soft/thunk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/soft/memory.h"
#include "engine/soft/native.h"

enum {
    POOL_SIZE = 16 << 20,
    POOL_BUCKETS = 1 << 14,
    POOL_LINE = 64,
    MAX_POOLS = 64,
};

struct thunk_pool {
    uint8_t *writable, *executable;
    size_t used;
    struct thunk *bucket[POOL_BUCKETS];
};

/* The executable ranges of all pools, for the signal handler; 0 = free. Each pool begins with the
 * `ret` that faulting thunks go on at. */
static _Atomic uintptr_t pool_ranges[MAX_POOLS];

static const uint8_t return_code[] = {0xc3};

bool thunk_contains(uint64_t rip, uint64_t *ret_return)
{
    for (unsigned i = 0; i < MAX_POOLS; i++) {
        uintptr_t start = atomic_load(&pool_ranges[i]);
        if (start != 0 && rip - start < POOL_SIZE) {
            *ret_return = start;
            return true;
        }
    }
    return false;
}

static int register_range(uintptr_t start)
{
    for (unsigned i = 0; i < MAX_POOLS; i++) {
        uintptr_t expected = 0;
        if (atomic_compare_exchange_strong(&pool_ranges[i], &expected, start))
            return 0;
    }
    return -EMFILE;
}

static void unregister_range(uintptr_t start)
{
    for (unsigned i = 0; i < MAX_POOLS; i++) {
        uintptr_t expected = start;
        if (atomic_compare_exchange_strong(&pool_ranges[i], &expected, 0))
            return;
    }
}

static int map_pool(struct thunk_pool *pool)
{
    int fd = memfd_create("partita-thunks", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    int error = ftruncate(fd, POOL_SIZE) < 0 ? -errno : 0;
    if (error == 0) {
        pool->writable = mmap(NULL, POOL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        pool->executable = mmap(NULL, POOL_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
        if (pool->writable == MAP_FAILED || pool->executable == MAP_FAILED)
            error = -errno;
    }
    (void)close(fd);
    return error;
}

int thunk_pool_create(struct thunk_pool **ret)
{
    struct thunk_pool *pool = calloc(1, sizeof(*pool));
    if (pool == NULL)
        return -ENOMEM;
    pool->writable = MAP_FAILED;
    pool->executable = MAP_FAILED;
    int error = map_pool(pool);
    if (error == 0)
        error = register_range((uintptr_t)pool->executable);
    if (error != 0) {
        thunk_pool_destroy(pool);
        return error;
    }
    thunk_pool_reset(pool);
    *ret = pool;
    return 0;
}

void thunk_pool_destroy(struct thunk_pool *pool)
{
    if (pool == NULL)
        return;
    if (pool->executable != MAP_FAILED) {
        unregister_range((uintptr_t)pool->executable);
        (void)munmap(pool->executable, POOL_SIZE);
    }
    if (pool->writable != MAP_FAILED)
        (void)munmap(pool->writable, POOL_SIZE);
    free(pool);
}

void thunk_pool_reset(struct thunk_pool *pool)
{
    memset(pool->bucket, 0, sizeof(pool->bucket));
    memcpy(pool->writable, return_code, sizeof(return_code));
    pool->used = POOL_LINE;
}

/* ---- finding and keeping ---- */

/* FNV-1a. */
static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t length)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* Everything behind `next` describes the instruction. */
enum { KEY_OFFSET = offsetof(struct thunk, code_length) };

static bool is_equal(const struct thunk *a, const struct thunk *b, const uint8_t *code)
{
    if (memcmp((const uint8_t *)a + KEY_OFFSET, (const uint8_t *)b + KEY_OFFSET,
               sizeof(*a) - KEY_OFFSET) != 0)
        return false;
    return memcmp(a + 1, code, a->code_length) == 0;
}

/* The code behind the struct, where it can be executed. */
static native_code executable_code(const struct thunk_pool *pool, const struct thunk *thunk)
{
    size_t offset = (size_t)((const uint8_t *)(thunk + 1) - pool->writable);
    native_code code;
    const void *address = pool->executable + offset;
    memcpy(&code, &address, sizeof(code));
    return code;
}

/* `made` must be zeroed before it is filled: padding is compared. */
static int keep(struct thunk_pool *pool, const struct thunk *made, const uint8_t *code,
                struct thunk **ret)
{
    uint64_t hash = hash_bytes(UINT64_C(0xcbf29ce484222325), (const uint8_t *)made + KEY_OFFSET,
                               sizeof(*made) - KEY_OFFSET);
    hash = hash_bytes(hash, code, made->code_length);
    struct thunk **bucket = &pool->bucket[hash % POOL_BUCKETS];
    for (struct thunk *at = *bucket; at != NULL; at = at->next) {
        if (is_equal(at, made, code)) {
            *ret = at;
            return 0;
        }
    }
    size_t need = sizeof(*made) + made->code_length;
    need = (need + POOL_LINE - 1) & ~(size_t)(POOL_LINE - 1);
    if (need > POOL_SIZE - pool->used)
        return -ENOSPC;
    struct thunk *thunk = (struct thunk *)(void *)(pool->writable + pool->used);
    memcpy(thunk, made, sizeof(*made));
    memcpy(thunk + 1, code, made->code_length);
    thunk->code = made->code_length != 0 ? executable_code(pool, thunk) : NULL;
    thunk->next = *bucket;
    *bucket = thunk;
    pool->used += need;
    *ret = thunk;
    return 0;
}

/* ---- describing ---- */

static unsigned memory_access(const ZydisDecodedInstruction *instruction,
                              const ZydisDecodedOperand *memory)
{
    unsigned access =
        (memory->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) ? ACCESS_WRITE : ACCESS_READ;
    if (memory->actions == ZYDIS_OPERAND_ACTION_WRITE)
        access |= ACCESS_FRESH;
    bool locked = (instruction->attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0 ||
                  instruction->mnemonic == ZYDIS_MNEMONIC_XCHG;
    return locked ? access | ACCESS_LOCKED : access;
}

/* The SSE instructions that take unaligned operands of 16 bytes (Intel SDM vol. 2A § 2.4). */
static bool is_alignment_free(const ZydisDecodedInstruction *instruction)
{
    /* Makers differ on SHA; the host decides. */
    if (instruction->meta.isa_set == ZYDIS_ISA_SET_SHA)
        return true;
    switch (instruction->mnemonic) {
    case ZYDIS_MNEMONIC_MOVUPS:
    case ZYDIS_MNEMONIC_MOVUPD:
    case ZYDIS_MNEMONIC_MOVDQU:
    case ZYDIS_MNEMONIC_LDDQU:
    case ZYDIS_MNEMONIC_PCMPESTRI:
    case ZYDIS_MNEMONIC_PCMPESTRM:
    case ZYDIS_MNEMONIC_PCMPISTRI:
    case ZYDIS_MNEMONIC_PCMPISTRM:
        return true;
    default:
        return false;
    }
}

/* Misalignment is #GP before the page is looked at, so it cannot be left to the host. */
static unsigned memory_alignment(const ZydisDecodedInstruction *instruction, unsigned size)
{
    if (instruction->mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B)
        return 16;
    if (size < 16 || size > 32 || is_alignment_free(instruction))
        return 1;
    bool vex = instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
    if (vex)
        return instruction->meta.exception_class == ZYDIS_EXCEPTION_CLASS_AVX1 ? size : 1;
    return size == 16 ? 16 : 1;
}

static bool is_bit_test(ZydisMnemonic mnemonic)
{
    return mnemonic == ZYDIS_MNEMONIC_BT || mnemonic == ZYDIS_MNEMONIC_BTS ||
           mnemonic == ZYDIS_MNEMONIC_BTR || mnemonic == ZYDIS_MNEMONIC_BTC;
}

static void describe_memory(const ZydisDecodedInstruction *instruction,
                            const ZydisDecodedOperand *operands, struct thunk *thunk)
{
    const ZydisDecodedOperand *memory = encode_memory(instruction, operands);
    if (memory == NULL)
        return;
    thunk->size = (uint16_t)(memory->size / 8);
    thunk->access = (uint8_t)memory_access(instruction, memory);
    thunk->alignment = (uint8_t)memory_alignment(instruction, thunk->size);
    thunk->waits = (thunk->need & (NEED_X87 | NEED_MMX)) != 0 &&
                   instruction->mnemonic != ZYDIS_MNEMONIC_FNSTCW &&
                   instruction->mnemonic != ZYDIS_MNEMONIC_FNSTSW;
    thunk->pops = (thunk->need & NEED_X87) != 0 && (thunk->access & ACCESS_WRITE) != 0;
    if (is_bit_test(instruction->mnemonic) && operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER) {
        thunk->bit_width = instruction->operand_width;
        thunk->bit_reg = (uint8_t)encode_gpr_number(operands[1].reg.value);
    }
}

static uint16_t x87_opcode(const ZydisDecodedInstruction *instruction)
{
    unsigned modrm = (unsigned)instruction->raw.modrm.mod << 6 |
                     (unsigned)instruction->raw.modrm.reg << 3 | instruction->raw.modrm.rm;
    return (uint16_t)((instruction->opcode & 7u) << 8 | modrm);
}

/* ---- making ---- */

static bool is_plain_memory(const ZydisDecodedOperand *memory)
{
    return memory == NULL ||
           (memory->visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN &&
            memory->mem.type == ZYDIS_MEMOP_TYPE_MEM && memory->size != 0 && memory->size <= 4096);
}

static int make_code(struct thunk_pool *pool, const ZydisDecodedInstruction *instruction,
                     const ZydisDecodedOperand *operands, struct thunk *made, struct op *op)
{
    uint8_t code[NATIVE_CODE_MAX];
    if (!is_plain_memory(encode_memory(instruction, operands)))
        return -ENOTSUP;
    describe_memory(instruction, operands, made);
    if (made->pointers == POINTERS_SET)
        made->opcode = x87_opcode(instruction);
    int length = encode_thunk(instruction, operands, made, code);
    if (length < 0)
        return length;
    made->code_length = (uint16_t)length;
    int error = keep(pool, made, code, &op->thunk);
    if (error != 0)
        return error;
    bool simple = made->size == 0 && made->need == 0 && made->pointers == POINTERS_KEEP;
    op->run = simple ? op_native_register : op_native;
    return 0;
}

static op_fn environment_handler(ZydisMnemonic mnemonic)
{
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_FNSTENV:
        return op_fnstenv;
    case ZYDIS_MNEMONIC_FLDENV:
        return op_fldenv;
    case ZYDIS_MNEMONIC_FNSAVE:
        return op_fnsave;
    default:
        return op_frstor;
    }
}

static op_fn handler(enum native_form form, const ZydisDecodedInstruction *instruction,
                     const struct thunk *thunk)
{
    switch (form) {
    case FORM_ENVIRONMENT:
        return environment_handler(instruction->mnemonic);
    case FORM_MXCSR:
        return (thunk->access & ACCESS_WRITE) ? op_stmxcsr : op_ldmxcsr;
    case FORM_FLUSH:
        return op_cache_line;
    case FORM_ZERO:
        return op_zero_vectors;
    case FORM_MASKED:
        return (thunk->access & ACCESS_WRITE) ? op_masked_store : op_masked_load;
    default:
        return op_gather;
    }
}

int thunk_make(struct thunk_pool *pool, const ZydisDecodedInstruction *instruction,
               const ZydisDecodedOperand *operands, struct op *op)
{
    struct thunk made;
    memset(&made, 0, sizeof(made));
    enum native_form form = allow_form(instruction, operands, &made);
    if (form == FORM_REFUSED)
        return -ENOTSUP;
    int error;
    if (form == FORM_CODE) {
        error = make_code(pool, instruction, operands, &made, op);
    } else {
        describe_memory(instruction, operands, &made);
        if (instruction->mnemonic == ZYDIS_MNEMONIC_VZEROUPPER)
            made.vector_size = 16;
        bool masked = form == FORM_MASKED || form == FORM_GATHER;
        error = masked ? masked_describe(instruction, operands, &made) : 0;
        if (error == 0)
            error = keep(pool, &made, (const uint8_t *)"", &op->thunk);
        op->run = handler(form, instruction, &made);
    }
    op->size = (uint8_t)made.size;
    op->width = form == FORM_ENVIRONMENT ? instruction->operand_width / 8 : op->width;
    return error;
}
