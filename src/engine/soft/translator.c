/*
 * The memory that translations lie in, the routines that they share, links between them, and which
 * of them a host address belongs to.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/soft/decode.h"
#include "engine/soft/tlb.h"
#include "engine/soft/translate_private.h"

enum { MAX_MADE = 1 << 19 };
#define MADE_SIZE (MAX_MADE * sizeof(void *))

bool translator_is_possible(void)
{
    enum { HWCAP2_FSGSBASE = 1 << 1 };
    return (getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE) != 0 && __builtin_cpu_supports("bmi2");
}

/* ---- routines ---- */

/* Guest registers that live in host registers, and in which. */
static const struct {
    uint8_t gpr, host;
} residents[] = {
    {GPR_RCX, GPR_RCX}, {GPR_RDX, GPR_RDX}, {GPR_RBX, GPR_RBX}, {GPR_RSP, HOST_RSP},
    {GPR_RBP, GPR_RBP}, {GPR_RSI, GPR_RSI}, {GPR_RDI, GPR_RDI}, {GPR_R8, GPR_R8},
    {GPR_R9, GPR_R9},   {GPR_R10, GPR_R10}, {GPR_R11, GPR_R11},
};
enum { RESIDENTS = sizeof(residents) / sizeof(residents[0]) };

/* RAX goes first and comes back last: the flags travel through it. */
static void routine_save(struct emit *emit, bool flags_live)
{
    struct place rax = place_of_gpr(GPR_RAX);
    struct place flags = place_of_cpu(offsetof(struct cpu, saved_flags));
    assemble_memory(emit, true, OPCODE_STORE, GPR_RAX, &rax);
    if (flags_live) {
        assemble_flags_to_ax(emit);
        assemble_memory16(emit, OPCODE_STORE, GPR_RAX, &flags);
    }
    for (unsigned i = 0; i < RESIDENTS; i++) {
        struct place place = place_of_gpr(residents[i].gpr);
        assemble_memory(emit, true, OPCODE_STORE, residents[i].host, &place);
    }
}

/* Everything back from the vCPU, and on to the address in RAX. */
static void routine_resume(struct emit *emit)
{
    struct place rax = place_of_gpr(GPR_RAX);
    assemble_registers(emit, true, OPCODE_LOAD, SCRATCH_B, GPR_RAX);
    assemble_restore_flags(emit, offsetof(struct cpu, saved_flags), SCRATCH_A);
    for (unsigned i = 0; i < RESIDENTS; i++) {
        struct place place = place_of_gpr(residents[i].gpr);
        assemble_memory(emit, true, OPCODE_LOAD, residents[i].host, &place);
    }
    assemble_memory(emit, true, OPCODE_LOAD, GPR_RAX, &rax);
    assemble_jump_register(emit, SCRATCH_B);
}

static void routine_call(struct emit *emit, uintptr_t function)
{
    struct place self = place_of_cpu(offsetof(struct cpu, self));
    assemble_memory(emit, true, OPCODE_LOAD, GPR_RDI, &self);
    assemble_constant(emit, GPR_RAX, function);
    assemble_call_register(emit, GPR_RAX);
    routine_resume(emit);
}

static uint8_t *routine_interpret(struct emit *emit, bool flags_live, uintptr_t function)
{
    uint8_t *at = emit->at;
    assemble_pop(emit, SCRATCH_B);
    routine_save(emit, flags_live);
    assemble_registers(emit, true, OPCODE_LOAD, GPR_RSI, SCRATCH_A);
    assemble_registers(emit, false, OPCODE_LOAD, GPR_RDX, SCRATCH_ADDRESS);
    assemble_registers(emit, true, OPCODE_LOAD, GPR_RCX, SCRATCH_B);
    routine_call(emit, function);
    return at;
}

/* With the word in R13. */
static uint8_t *routine_ask(struct emit *emit, bool flags_live, uintptr_t function)
{
    uint8_t *at = emit->at;
    routine_save(emit, flags_live);
    assemble_registers(emit, true, OPCODE_LOAD, GPR_RSI, SCRATCH_ADDRESS);
    routine_call(emit, function);
    return at;
}

/* What a function must keep, System V ABI § 3.2.1. */
static const uint8_t callee_saved[] = {GPR_RBX, GPR_RBP, GPR_R12, GPR_R13, GPR_R14, GPR_R15};
enum { CALLEE_SAVED = sizeof(callee_saved), GROUP_ADD = 0, ALIGNING = 8 };

static uint8_t *routine_enter(struct emit *emit)
{
    uint8_t *at = emit->at;
    for (unsigned i = 0; i < CALLEE_SAVED; i++)
        assemble_push(emit, callee_saved[i]);
    assemble_group1(emit, true, GROUP_ADD, GPR_RSP, -ALIGNING);
    assemble_registers(emit, true, OPCODE_LOAD, GPR_RAX, GPR_RSI);
    routine_resume(emit);
    return at;
}

static uint8_t *routine_leave(struct emit *emit)
{
    uint8_t *at = emit->at;
    struct place step = place_of_cpu(offsetof(struct cpu, left_with));
    assemble_group1(emit, true, GROUP_ADD, GPR_RSP, ALIGNING);
    for (unsigned i = CALLEE_SAVED; i-- > 0;)
        assemble_pop(emit, callee_saved[i]);
    assemble_memory(emit, false, OPCODE_LOAD, GPR_RAX, &step);
    assemble_return(emit);
    return at;
}

static void write_routines(struct translator *translator)
{
    struct emit emit = {.at = translator->writable, .end = translator->writable + translator->size};
    translator->routine = (struct routines){
        .interpret_live = routine_interpret(&emit, true, (uintptr_t)translated_interpret),
        .interpret_saved = routine_interpret(&emit, false, (uintptr_t)translated_interpret),
        .finish_live = routine_interpret(&emit, true, (uintptr_t)translated_finish),
        .finish_saved = routine_interpret(&emit, false, (uintptr_t)translated_finish),
        .follow_live = routine_ask(&emit, true, (uintptr_t)translated_follow),
        .follow_saved = routine_ask(&emit, false, (uintptr_t)translated_follow),
        .go_live = routine_ask(&emit, true, (uintptr_t)translated_go),
        .go_saved = routine_ask(&emit, false, (uintptr_t)translated_go),
        .pass = routine_ask(&emit, false, (uintptr_t)translated_pass),
        .near_read = write_near_routine(&emit, false),
        .near_write = write_near_routine(&emit, true),
        .leave = routine_leave(&emit),
        .enter = routine_enter(&emit),
    };
    translator->routines_end = (size_t)(emit.at - translator->writable);
    translator->used = translator->routines_end;
}

/* ---- memory ---- */

static int keep_mappings(struct translator *translator, void *writable, void *code)
{
    translator->writable = writable == MAP_FAILED ? NULL : writable;
    translator->executable = code == MAP_FAILED ? NULL : code;
    return writable == MAP_FAILED || code == MAP_FAILED ? -ENOMEM : 0;
}

/*
 * perf takes names of code from elsewhere only when no file is mapped there. So it is an area that
 * belongs to none, and a second mapping of it: mremap(2), "if the value of old_size is zero".
 */
static int map_without_file(struct translator *translator)
{
    size_t size = translator->size;
    void *writable =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void *code = writable == MAP_FAILED ? MAP_FAILED : mremap(writable, 0, size, MREMAP_MAYMOVE);
    int error = keep_mappings(translator, writable, code);
    if (error == 0 && mprotect(code, size, PROT_READ | PROT_EXEC) < 0)
        error = -errno;
    return error;
}

static int map_code(struct translator *translator)
{
    if (translator->code->partition->config.code_watch.made != NULL)
        return map_without_file(translator);
    int fd = memfd_create("partita-translations", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    int error = ftruncate(fd, (off_t)translator->size) < 0 ? -errno : 0;
    if (error == 0) {
        void *writable = mmap(NULL, translator->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        void *code = mmap(NULL, translator->size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
        error = keep_mappings(translator, writable, code);
    }
    (void)close(fd);
    return error;
}

int translator_create(struct code_cache *code, struct translator **ret)
{
    struct translator *translator = calloc(1, sizeof(*translator));
    if (translator == NULL)
        return -ENOMEM;
    translator->code = code;
    translator->size = code->host_size;
    void *made = mmap(NULL, MADE_SIZE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    translator->made = made == MAP_FAILED ? NULL : made;
    int error = made == MAP_FAILED ? -ENOMEM : map_code(translator);
    if (error == 0)
        error = decode_set_up(code->partition, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64,
                              &translator->decoder);
    if (error != 0) {
        translator_destroy(translator);
        return error;
    }
    write_routines(translator);
    translation_tell_routines(translator);
    code->leave = translator_executable(translator, translator->routine.leave);
    const void *enter = translator_executable(translator, translator->routine.enter);
    memcpy(&code->enter, &enter, sizeof(enter));
    *ret = translator;
    return 0;
}

void translator_destroy(struct translator *translator)
{
    if (translator == NULL)
        return;
    if (translator->made != NULL)
        (void)munmap(translator->made, MADE_SIZE);
    if (translator->writable != NULL)
        (void)munmap(translator->writable, translator->size);
    if (translator->executable != NULL)
        (void)munmap(translator->executable, translator->size);
    free(translator);
}

size_t translator_used(const struct translator *translator)
{
    return translator != NULL ? translator->used : 0;
}

/* The pages behind the routines: zeros again, in both mappings. */
static void give_pages_back(const struct translator *translator)
{
    size_t kept = (translator->routines_end + MEM_PAGE_SIZE - 1) & PAGE_MASK;
    (void)madvise(translator->writable + kept, translator->size - kept, MADV_REMOVE);
    (void)madvise(translator->made, MADE_SIZE, MADV_DONTNEED);
}

void translator_reset(struct translator *translator, bool give_back)
{
    atomic_store(&translator->made_count, 0);
    translator->used = translator->routines_end;
    if (give_back)
        give_pages_back(translator);
    translation_tell_emptied(translator);
}

bool translator_keep(struct translator *translator, struct translation *made)
{
    size_t count = atomic_load(&translator->made_count);
    if (count == MAX_MADE)
        return false;
    translator->made[count] = made;
    atomic_store_explicit(&translator->made_count, count + 1, memory_order_release);
    return true;
}

/* ---- whose is a host address? ---- */

static const struct translation *find_made(const struct translator *translator, const uint8_t *at)
{
    size_t low = 0;
    size_t high = atomic_load_explicit(&translator->made_count, memory_order_acquire);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (translator->made[middle]->base <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? NULL : translator->made[low - 1];
}

static bool find_stub(const struct translation *made, const uint8_t *at, uint64_t *ret)
{
    uint64_t offset = (uint64_t)(at - made->base);
    for (unsigned i = 0; i < made->block->count; i++) {
        if (offset < made->op_start[i] || offset >= made->op_start[i + 1])
            continue;
        *ret = (uint64_t)(made->base + made->op_stub[i]);
        return made->op_stub[i] != 0;
    }
    return false;
}

bool translator_contains(const struct translator *translator, uint64_t rip, uint64_t *ret_stub)
{
    if (translator == NULL || rip - (uint64_t)translator->executable >= translator->size)
        return false;
    const uint8_t *at = translator->executable + (rip - (uint64_t)translator->executable);
    const struct translation *made = find_made(translator, at);
    return made != NULL && find_stub(made, at, ret_stub);
}

bool translator_begins(const struct translator *translator, uint64_t rip, unsigned *ret)
{
    *ret = 0;
    if (rip - (uint64_t)translator->executable >= translator->size)
        return false;
    const uint8_t *at = translator->executable + (rip - (uint64_t)translator->executable);
    const struct translation *made = find_made(translator, at);
    for (unsigned i = 0; made != NULL && i < made->block->count; i++)
        *ret += made->base + made->op_start[i] == at;
    return true;
}

/* ---- links ---- */

/* Aligned, so that who runs the jump meanwhile goes to the old place or to the new. */
/* NOLINTNEXTLINE(readability-non-const-parameter): stored to through another type */
static void set_site(uint8_t *site, const uint8_t *target)
{
    int32_t distance = (int32_t)(target - (site + sizeof(distance)));
    __atomic_store_n((int32_t *)(void *)site, distance, __ATOMIC_RELEASE);
}

static const uint8_t *entry_for(const struct link *link, const struct translation *to)
{
    if (link->flags_saved)
        return link->backward ? to->entry_saved_poll : to->entry_saved;
    return link->backward ? to->entry_poll : to->entry;
}

static bool may_link(const struct link *link, const struct translation *to)
{
    const struct block *from = link->from->block;
    const struct block *block = to->block;
    return link->to == NULL && atomic_load(&from->valid) && atomic_load(&block->valid) &&
           block->rip == link->target && block->mode == from->mode &&
           block->floats == from->floats && block->second_gpa == UINT64_MAX &&
           from->second_gpa == UINT64_MAX && block->rip >> 12 == from->rip >> 12 &&
           block->gpa >> 12 == from->gpa >> 12;
}

/* For good: it leads to code that goes on in another page. */
static void link_far(const struct cpu *cpu, struct translator *translator, struct link *link)
{
    uint8_t *at = translator->writable + translator->used;
    struct emit emit = {.at = at, .end = translator->writable + translator->size};
    write_far_exit(&emit, translator, link->from->block, link->target, link->flags_saved);
    if (emit.full)
        return;
    translator->used = (size_t)(emit.at - translator->writable);
    set_site(link->site, at);
    translation_tell(cpu, link->from->block, translator_executable(translator, at),
                     (size_t)(emit.at - at));
}

void translator_link(struct cpu *cpu, struct link *link, struct translation *to)
{
    struct code_cache *code = cpu->partition->code;
    struct translator *translator = code->translator;
    fpu_leave(cpu);
    (void)pthread_mutex_lock(&code->lock);
    if (!code->resetting && may_link(link, to)) {
        const uint8_t *entry = entry_for(link, to);
        code->stats.links++;
        link->to = to;
        link->next = to->incoming;
        to->incoming = link;
        set_site(link->site, translator->writable + (entry - translator->executable));
    } else if (!code->resetting && link->to == NULL) {
        code->stats.far_links++;
        link_far(cpu, translator, link);
    }
    (void)pthread_mutex_unlock(&code->lock);
}

/* Eight aligned bytes at once, of which the first five change. */
static void close_door(uint8_t *door, const uint8_t *leave)
{
    enum { JUMP = 0xe9, JUMP_SIZE = 5 };
    uint64_t *word = (uint64_t *)(void *)door;
    uint64_t distance = (uint32_t)(leave - (door + JUMP_SIZE));
    uint64_t kept = *word & ~((UINT64_C(1) << 8 * JUMP_SIZE) - 1);
    __atomic_store_n(word, kept | distance << 8 | JUMP, __ATOMIC_RELEASE);
}

void translator_withdraw(struct block *block)
{
    struct translation *made = atomic_load(&block->translation);
    if (made == NULL)
        return;
    close_door(made->door, made->leave);
    if (made->door_saved != NULL)
        close_door(made->door_saved, made->leave_saved);
    for (struct link *link = made->incoming; link != NULL; link = link->next) {
        set_site(link->site, link->stub);
        link->to = NULL;
    }
    made->incoming = NULL;
}
