/*
 * The slow way to guest memory: page walk, TLB fill, accesses that cross a page, MMIO, breakpoints,
 * pages that hold translated code.
 */
#include "engine/soft/memory.h"

#include "engine/soft/code.h"
#include "engine/soft/paging.h"
#include "engine/soft/partition.h"
#include "engine/soft/tlb.h"

static void copy_bytes(void *to, const void *from, uint64_t count)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
}

static void zero_bytes(void *to, uint64_t count)
{
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(0) : "memory");
}

/* ---- physical addresses ---- */

static const struct soft_mapping *find_mapping(const struct soft_partition *partition, uint64_t gpa)
{
    for (size_t i = 0; i < partition->mapping_count; i++) {
        const struct soft_mapping *mapping = &partition->mapping[i];
        if (gpa - mapping->gpa < mapping->size)
            return mapping;
    }
    return NULL;
}

/* Host address of a guest-physical byte, or NULL: MMIO, or a write to ROM. */
static uint8_t *physical_host(struct cpu *cpu, uint64_t gpa, unsigned access)
{
    const struct soft_partition *partition = cpu->partition;
    const struct soft_mapping *mapping = find_mapping(partition, gpa);
    if (mapping != NULL)
        return (access & ACCESS_WRITE) && !mapping->writable ? NULL
                                                             : mapping->host + (gpa - mapping->gpa);
    if ((gpa & PAGE_MASK) == lapic_page(cpu) || !mem_is_ram(partition->mem, gpa, 1))
        return NULL;
    return partition->ram + gpa;
}

/* ---- linear addresses ---- */

static bool has_breakpoint(const struct cpu *cpu, uint64_t linear)
{
    for (unsigned i = 0; i < 4; i++) {
        bool enabled = (cpu->dr[7] >> (2 * i)) & 3;
        bool data = (cpu->dr[7] >> (16 + 4 * i)) & 3;
        if (enabled && data && ((cpu->dr[i] ^ linear) & PAGE_MASK) == 0)
            return true;
    }
    return false;
}

static void fill_tlb(struct cpu *cpu, uint64_t linear, unsigned access,
                     const struct walked_page *to, const uint8_t *host)
{
    if ((access & (ACCESS_SYSTEM | ACCESS_USER)) != 0)
        return;
    cpu->stats.fills++;
    uint64_t tag = tlb_tag(linear, 1);
    struct tlb_entry *entry = tlb_take(cpu->tlb, linear, (uint64_t)host - linear, to->global);
    if (to->shift != 12)
        tlb_note_large(cpu, linear, to->shift);
    if (access & ACCESS_FETCH) {
        entry->fetch = tag;
        tlb_note_fetch(cpu, linear, to->global);
        return;
    }
    if (cpu_checks_alignment(cpu) || has_breakpoint(cpu, linear))
        return;
    entry->read = tag;
    bool writes = (access & ACCESS_WRITE) != 0;
    if (writes && !code_is_marked(cpu->partition->code, to->gpa))
        entry->write = tag;
}

static int not_canonical(struct cpu *cpu, unsigned access)
{
    return fault_code(cpu, (access & ACCESS_STACK) ? VECTOR_SS : VECTOR_GP, 0);
}

static bool is_ram(const struct cpu *cpu, const struct piece *piece)
{
    return piece->host == cpu->partition->ram + piece->gpa;
}

/* One page's part of an access. `size` does not leave the page. */
static int translate(struct cpu *cpu, uint64_t linear, unsigned size, unsigned access,
                     struct piece *ret)
{
    struct walked_page to;
    int step = paging_walk(cpu, linear, access, &to);
    if (step != STEP_NEXT)
        return step;
    *ret = (struct piece){physical_host(cpu, to.gpa, access), to.gpa, size};
    if (ret->host == NULL || ((access & ACCESS_FETCH) != 0 && !is_ram(cpu, ret)))
        return STEP_NEXT;
    if ((access & ACCESS_WRITE) != 0 && is_ram(cpu, ret))
        partition_mark_dirty(cpu->partition, to.gpa);
    fill_tlb(cpu, linear, access, &to, ret->host);
    return STEP_NEXT;
}

/* Code is run from RAM only; a jump into a device or a mapped ROM ends like a bus error would. */
int memory_fetch(struct cpu *cpu, uint64_t linear, uint64_t *ret_gpa)
{
    struct piece piece;
    if (cpu_ia32e(cpu) && !is_canonical(linear))
        return not_canonical(cpu, ACCESS_FETCH);
    int step = translate(cpu, linear, 1, ACCESS_FETCH, &piece);
    if (step != STEP_NEXT)
        return step;
    if (!is_ram(cpu, &piece))
        return fault_code(cpu, VECTOR_GP, 0);
    *ret_gpa = piece.gpa;
    return STEP_NEXT;
}

/* Intel SDM vol. 3A table 6-7; environments and areas of the x87 go by their smallest word. */
static unsigned natural_alignment(unsigned size)
{
    switch (size) {
    case 10:
        return 8;
    case 14:
    case 94:
        return 2;
    case 28:
    case 108:
        return 4;
    default:
        if (size == 32)
            return 16;
        return size <= 16 && (size & (size - 1)) == 0 ? size : 1;
    }
}

/* Check the whole access before any byte moves: one piece, or two when it crosses into the next
 * page. */
static int translate_all(struct cpu *cpu, uint64_t linear, unsigned size, unsigned access,
                         struct piece piece[2])
{
    if (cpu_ia32e(cpu) && (!is_canonical(linear) || !is_canonical(linear + size - 1)))
        return not_canonical(cpu, access);
    bool aligned_only = cpu_checks_alignment(cpu) && (access & (ACCESS_SYSTEM | ACCESS_FETCH)) == 0;
    if (aligned_only && (linear & (natural_alignment(size) - 1)) != 0)
        return fault_code(cpu, VECTOR_AC, 0);
    unsigned room = (unsigned)(MEM_PAGE_SIZE - (linear & ~PAGE_MASK));
    unsigned first = size < room ? size : room;
    piece[1].size = 0;
    int step = translate(cpu, linear, first, access, &piece[0]);
    if (step != STEP_NEXT || first == size)
        return step;
    uint64_t next = linear + first;
    if (!cpu_ia32e(cpu))
        next = (uint32_t)next;
    return translate(cpu, next, size - first, access, &piece[1]);
}

/* ---- MMIO ---- */

static bool is_lapic(const struct cpu *cpu, uint64_t gpa)
{
    return (gpa & PAGE_MASK) == lapic_page(cpu);
}

/* Only aligned 32-bit accesses to the APIC are defined (Intel SDM vol. 3A § 10.4.1); narrower reads
 * give their bytes of the register. */
static uint64_t lapic_read(struct cpu *cpu, uint64_t gpa, unsigned size)
{
    uint32_t offset = (uint32_t)(gpa & 0xfff);
    uint64_t value = lapic_mmio_read(cpu, offset & ~3u) >> (8 * (offset & 3));
    return size >= 4 ? value : value & ((UINT64_C(1) << (8 * size)) - 1);
}

static int mmio_read(struct cpu *cpu, const struct piece *piece, uint8_t *ret)
{
    for (unsigned done = 0; done < piece->size;) {
        unsigned left = piece->size - done;
        unsigned size = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        uint64_t gpa = piece->gpa + done;
        uint64_t value = 0;
        int step = STEP_NEXT;
        if (is_lapic(cpu, gpa))
            value = lapic_read(cpu, gpa, size);
        else
            step = exit_read(cpu, ENGINE_EXIT_MMIO_READ, gpa, size, &value);
        if (step != STEP_NEXT)
            return step;
        copy_bytes(ret + done, &value, size);
        done += size;
    }
    return STEP_NEXT;
}

static int mmio_write(struct cpu *cpu, const struct piece *piece, const uint8_t *bytes)
{
    for (unsigned done = 0; done < piece->size;) {
        unsigned left = piece->size - done;
        unsigned size = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        uint64_t gpa = piece->gpa + done;
        uint64_t value = 0;
        copy_bytes(&value, bytes + done, size);
        int step = STEP_NEXT;
        if (is_lapic(cpu, gpa))
            lapic_mmio_write(cpu, (uint32_t)(gpa & 0xfff), (uint32_t)value);
        else
            step = exit_write(cpu, ENGINE_EXIT_MMIO_WRITE, gpa, size, value);
        if (step != STEP_NEXT)
            return step;
        done += size;
    }
    return STEP_NEXT;
}

/* ---- pieces ---- */

static int read_pieces(struct cpu *cpu, const struct piece piece[2], unsigned access, uint8_t *ret)
{
    for (unsigned i = 0; i < 2 && piece[i].size != 0; i++) {
        if (piece[i].host != NULL) {
            copy_bytes(ret, piece[i].host, piece[i].size);
        } else if (access & ACCESS_FRESH) {
            zero_bytes(ret, piece[i].size);
        } else {
            int step = mmio_read(cpu, &piece[i], ret);
            if (step != STEP_NEXT)
                return step;
        }
        ret += piece[i].size;
    }
    return STEP_NEXT;
}

/* The store comes first: a block decoded between store and look would else keep the old bytes. */
static void after_store(struct cpu *cpu, const struct piece *piece)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (!code_is_marked(cpu->partition->code, piece->gpa))
        return;
    fpu_leave(cpu);
    code_written(cpu->partition, piece->gpa, piece->size);
}

/* MMIO first: it may have to ask and come back, and RAM must not be written twice then. */
static int write_pieces(struct cpu *cpu, const struct piece piece[2], const uint8_t *bytes)
{
    for (unsigned i = 0; i < 2 && piece[i].size != 0; i++) {
        if (piece[i].host != NULL)
            continue;
        int step = mmio_write(cpu, &piece[i], bytes + (i == 0 ? 0 : piece[0].size));
        if (step != STEP_NEXT)
            return step;
    }
    for (unsigned i = 0; i < 2 && piece[i].size != 0; i++) {
        if (piece[i].host == NULL)
            continue;
        copy_bytes(piece[i].host, bytes + (i == 0 ? 0 : piece[0].size), piece[i].size);
        after_store(cpu, &piece[i]);
    }
    return STEP_NEXT;
}

/* ---- words ---- */

int linear_read_slow(struct cpu *cpu, uint64_t linear, unsigned size, unsigned access,
                     uint64_t *ret)
{
    struct piece piece[2];
    int step = translate_all(cpu, linear, size, access, piece);
    if (step != STEP_NEXT)
        return step;
    uint64_t value = 0;
    if (piece[0].host != NULL && piece[1].size == 0)
        value = host_load(piece[0].host, size);
    else
        step = read_pieces(cpu, piece, access, (uint8_t *)&value);
    if (step != STEP_NEXT)
        return step;
    *ret = value;
    if (cpu->dr[7] & 0xff)
        debug_check_data(cpu, linear, size, false);
    return STEP_NEXT;
}

int linear_write_slow(struct cpu *cpu, uint64_t linear, unsigned size, unsigned access,
                      uint64_t value)
{
    struct piece piece[2];
    int step = translate_all(cpu, linear, size, access, piece);
    if (step != STEP_NEXT)
        return step;
    if (piece[0].host != NULL && piece[1].size == 0) {
        host_store(piece[0].host, size, value);
        after_store(cpu, &piece[0]);
    } else {
        step = write_pieces(cpu, piece, (const uint8_t *)&value);
        if (step != STEP_NEXT)
            return step;
    }
    if (cpu->dr[7] & 0xff)
        debug_check_data(cpu, linear, size, true);
    return STEP_NEXT;
}

/* ---- access in place ---- */

static void *begin_in_place(struct cpu *cpu, const struct piece piece[2], uint64_t linear,
                            unsigned access)
{
    if ((access & ACCESS_WRITE) && code_is_marked(cpu->partition->code, piece[0].gpa)) {
        cpu->commit.size = piece[0].size;
        cpu->commit.in_place = true;
        cpu->commit.linear = linear;
        cpu->commit.piece[0] = piece[0];
        cpu->commit.piece[1].size = 0;
    }
    return piece[0].host;
}

static int begin_bounce(struct cpu *cpu, const struct piece piece[2], uint64_t linear,
                        unsigned access, void **ret)
{
    uint8_t *bounce = cpu->bounce + (linear & 63);
    bool locked = (access & ACCESS_LOCKED) != 0;
    if (locked) {
        fpu_leave(cpu);
        (void)pthread_mutex_lock(&cpu->partition->split_lock);
    }
    int step = read_pieces(cpu, piece, access, bounce);
    if (step != STEP_NEXT || (access & ACCESS_WRITE) == 0) {
        if (locked)
            (void)pthread_mutex_unlock(&cpu->partition->split_lock);
        *ret = bounce;
        return step;
    }
    cpu->commit.size = piece[0].size + piece[1].size;
    cpu->commit.in_place = false;
    cpu->commit.locked = locked;
    cpu->commit.linear = linear;
    cpu->commit.piece[0] = piece[0];
    cpu->commit.piece[1] = piece[1];
    *ret = bounce;
    return STEP_NEXT;
}

int memory_begin_slow(struct cpu *cpu, uint64_t linear, unsigned size, unsigned access, void **ret)
{
    struct piece piece[2];
    cpu->commit.size = 0;
    cpu->commit.locked = false;
    int step = translate_all(cpu, linear, size, access, piece);
    if (step != STEP_NEXT)
        return step;
    if (piece[0].host != NULL && piece[1].size == 0)
        *ret = begin_in_place(cpu, piece, linear, access);
    else
        step = begin_bounce(cpu, piece, linear, access, ret);
    if (step == STEP_NEXT && (cpu->dr[7] & 0xff) != 0)
        debug_check_data(cpu, linear, size, (access & ACCESS_WRITE) != 0);
    return step;
}

static void end_commit(struct cpu *cpu)
{
    if (cpu->commit.locked)
        (void)pthread_mutex_unlock(&cpu->partition->split_lock);
    cpu->commit.locked = false;
    cpu->commit.size = 0;
}

int memory_commit_slow(struct cpu *cpu)
{
    int step = STEP_NEXT;
    if (cpu->commit.in_place)
        after_store(cpu, &cpu->commit.piece[0]);
    else
        step = write_pieces(cpu, cpu->commit.piece, cpu->bounce + (cpu->commit.linear & 63));
    if (cpu->commit.locked)
        fpu_leave(cpu);
    end_commit(cpu);
    return step;
}

void memory_abandon_slow(struct cpu *cpu)
{
    if (cpu->commit.locked)
        fpu_leave(cpu);
    end_commit(cpu);
}

/* ---- segmentation ---- */

static int segment_fault(struct cpu *cpu, unsigned segment)
{
    return fault_code(cpu, segment == SEGMENT_SS ? VECTOR_SS : VECTOR_GP, 0);
}

static bool is_within_limit(const struct engine_segment *segment, uint64_t offset, unsigned size)
{
    uint64_t last = offset + size - 1;
    bool expand_down = (segment->attributes & (SEGMENT_S | 0xc)) == (SEGMENT_S | 0x4);
    if (!expand_down)
        return last <= segment->limit;
    uint64_t top = (segment->attributes & SEGMENT_DB) ? UINT32_MAX : UINT16_MAX;
    return offset > segment->limit && last <= top;
}

/* Type checks, Intel SDM vol. 3A § 5.5. */
static bool is_type_allowed(const struct engine_segment *segment, unsigned access)
{
    bool code = (segment->attributes & 8) != 0;
    bool readable_or_writable = (segment->attributes & 2) != 0;
    if (access & ACCESS_WRITE)
        return !code && readable_or_writable;
    return !code || readable_or_writable;
}

int segment_linear(struct cpu *cpu, unsigned segment, uint64_t offset, unsigned size,
                   unsigned access, uint64_t *ret)
{
    const struct engine_segment *s = &cpu->segment[segment];
    if (cpu->mode & MODE_LONG) {
        bool based = segment == SEGMENT_FS || segment == SEGMENT_GS;
        uint64_t linear = offset + (based ? s->base : 0);
        if (!is_canonical(linear) || !is_canonical(linear + size - 1))
            return segment_fault(cpu, segment);
        *ret = linear;
        return STEP_NEXT;
    }
    if (s->attributes & SEGMENT_UNUSABLE)
        return segment_fault(cpu, segment);
    if (cpu_protected(cpu) && !is_type_allowed(s, access))
        return fault_code(cpu, VECTOR_GP, 0);
    if (!is_within_limit(s, offset, size))
        return segment_fault(cpu, segment);
    *ret = (uint32_t)(s->base + offset);
    return STEP_NEXT;
}

int operand_linear_slow(struct cpu *cpu, const struct op *op, unsigned size, unsigned access,
                        uint64_t *ret)
{
    return segment_linear(cpu, op->segment, op_address(cpu, op), size, access, ret);
}

/* ---- the stack outside 64-bit code ---- */

static uint64_t stack_offset(const struct cpu *cpu, uint64_t rsp)
{
    return (cpu->mode & MODE_STACK32) ? (uint32_t)rsp : (uint16_t)rsp;
}

int stack_write_slow(struct cpu *cpu, uint64_t rsp, unsigned size, uint64_t value)
{
    uint64_t linear;
    int step = segment_linear(cpu, SEGMENT_SS, stack_offset(cpu, rsp), size, ACCESS_WRITE, &linear);
    if (step != STEP_NEXT)
        return step;
    return linear_write(cpu, linear, size, ACCESS_WRITE | ACCESS_STACK, value);
}

int stack_read_slow(struct cpu *cpu, uint64_t rsp, unsigned size, uint64_t *ret)
{
    uint64_t linear;
    int step = segment_linear(cpu, SEGMENT_SS, stack_offset(cpu, rsp), size, ACCESS_READ, &linear);
    if (step != STEP_NEXT)
        return step;
    return linear_read(cpu, linear, size, ACCESS_READ | ACCESS_STACK, ret);
}
