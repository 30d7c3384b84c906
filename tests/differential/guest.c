/*
 * The guest: page tables, descriptor tables and 256 handlers, written once; then each case is
 * entered by setting all registers, in CPL 3, at the instruction.
 *
 * A handler is `out %al, $vector` in ring 0: run() returns, no register has changed, and the trap
 * frame lies on the kernel's stack. Formats: Intel SDM vol. 3A § 3.4.5, § 4.5, § 6.14, § 7.7.
 */
#include "guest.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"

enum {
    GUEST_MEMORY = 16 << 20,
    /* Physical pages. */
    PHYS_PML4 = 0x10000,
    PHYS_USER_PDPT = 0x11000,
    PHYS_USER_PD = 0x12000,
    PHYS_USER_PT = 0x13000,
    PHYS_KERNEL_PDPT = 0x14000,
    PHYS_KERNEL_PD = 0x15000,
    PHYS_KERNEL_PT = 0x16000,
    PHYS_KERNEL = 0x20000, /* mapped at KERNEL */
    PHYS_CODE = 0x40000,
    PHYS_DATA = 0x50000,
    /* Within the kernel's mapping. */
    OFFSET_IDT = 0x0000,
    OFFSET_GDT = 0x1000,
    OFFSET_LDT = 0x1800,
    OFFSET_TSS = 0x2000,
    OFFSET_HANDLERS = 0x3000,
    OFFSET_STACK = 0x4000,
    KERNEL_PAGES = 6,
    STACK_TOP = OFFSET_STACK + 0x1000,
    HANDLER_SIZE = 16,
    TSS_LIMIT = 103, /* no I/O permission map behind it */
    GDT_ENTRIES = 16,
};
#define KERNEL UINT64_C(0xffff800000000000)

enum { KERNEL_CS = 0x10, KERNEL_DS = 0x18, TSS_SELECTOR = 0x40, LDT_SELECTOR = 0x50 };

enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_A = 0x20, PTE_D = 0x40 };
#define PTE_NX (UINT64_C(1) << 63)

enum { STUCK_SECONDS = 10 };

struct guest {
    struct engine_registers base; /* what every case starts from */
    struct engine_registers now;
    uint8_t data[DIFF_DATA_SIZE]; /* what the data pages hold now */
    const struct engine_ops *ops;
    struct mem *mem;
    struct engine_partition *partition;
    struct engine_vcpu *vcpu;
    uint32_t dirty_code_offset, dirty_code_length;
    /* A case that does not come back is kicked out by this thread. */
    pthread_t watchdog;
    uint64_t runs; /* atomic: odd while in run() */
    bool watching;
    bool stopping; /* atomic */
    bool has_ldt;
};

/* ---- memory ---- */

static int put_entry(struct guest *guest, uint64_t table, unsigned index, uint64_t value)
{
    uint8_t bytes[8];
    put_le64(bytes, value);
    return mem_write(guest->mem, table + (uint64_t)index * 8, bytes, sizeof(bytes));
}

static unsigned table_index(uint64_t address, unsigned level)
{
    return (unsigned)(address >> (12 + 9 * level) & 511);
}

static int map_user(struct guest *guest, uint64_t address, uint64_t physical, uint64_t rights)
{
    return put_entry(guest, PHYS_USER_PT, table_index(address, 0),
                     physical | rights | PTE_P | PTE_U | PTE_A | PTE_D);
}

static int make_page_tables(struct guest *guest)
{
    const uint64_t user = PTE_P | PTE_W | PTE_U | PTE_A;
    const uint64_t kernel = PTE_P | PTE_W | PTE_A;
    int e = put_entry(guest, PHYS_PML4, table_index(DIFF_CODE, 3), PHYS_USER_PDPT | user);
    e = e != 0 ? e
               : put_entry(guest, PHYS_USER_PDPT, table_index(DIFF_CODE, 2), PHYS_USER_PD | user);
    e = e != 0 ? e : put_entry(guest, PHYS_USER_PD, table_index(DIFF_CODE, 1), PHYS_USER_PT | user);
    e = e != 0 ? e : put_entry(guest, PHYS_PML4, table_index(KERNEL, 3), PHYS_KERNEL_PDPT | kernel);
    e = e != 0
            ? e
            : put_entry(guest, PHYS_KERNEL_PDPT, table_index(KERNEL, 2), PHYS_KERNEL_PD | kernel);
    e = e != 0 ? e
               : put_entry(guest, PHYS_KERNEL_PD, table_index(KERNEL, 1), PHYS_KERNEL_PT | kernel);
    for (unsigned i = 0; i < KERNEL_PAGES && e == 0; i++)
        e = put_entry(guest, PHYS_KERNEL_PT, i,
                      (uint64_t)(PHYS_KERNEL + i * DIFF_PAGE) | kernel | PTE_D);
    e = e != 0 ? e : map_user(guest, DIFF_CODE, PHYS_CODE, 0);
    e = e != 0 ? e : map_user(guest, DIFF_RW0, PHYS_DATA, PTE_W | PTE_NX);
    e = e != 0 ? e : map_user(guest, DIFF_RW1, PHYS_DATA + DIFF_PAGE, PTE_W | PTE_NX);
    e = e != 0 ? e : map_user(guest, DIFF_RO, PHYS_DATA + DIFF_RW_SIZE, PTE_NX);
    return e;
}

/* ---- descriptors ---- */

static uint64_t descriptor(uint32_t base, uint32_t limit, uint32_t attributes)
{
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 |
           (uint64_t)(attributes & 0xff) << 40 | (uint64_t)(limit >> 16 & 0xf) << 48 |
           (uint64_t)(attributes >> 8 & 0xf) << 52 | (uint64_t)(base >> 24) << 56;
}

/* As arch/x86/kernel/cpu/common.c of Linux lays out its own. Attributes: registers.h. */
static int make_gdt(struct guest *guest)
{
    const uint64_t tss = KERNEL + OFFSET_TSS;
    const uint64_t ldt = KERNEL + OFFSET_LDT;
    uint64_t gdt[GDT_ENTRIES] = {
        [1] = descriptor(0, 0xfffff, 0xc9b), /* 32-bit kernel code */
        [2] = descriptor(0, 0xfffff, 0xa9b), /* KERNEL_CS */
        [3] = descriptor(0, 0xfffff, 0xc93), /* KERNEL_DS */
        [4] = descriptor(0, 0xfffff, 0xcfb), /* DIFF_USER_CS32 */
        [5] = descriptor(0, 0xfffff, 0xcf3), /* DIFF_USER_DS */
        [6] = descriptor(0, 0xfffff, 0xafb), /* DIFF_USER_CS64 */
        [8] = descriptor((uint32_t)tss, TSS_LIMIT, 0x08b),
        [9] = tss >> 32,
        [15] = descriptor(0, 0, 0x4f5), /* whose limit is the processor's number: 0 */
    };
    if (guest->has_ldt) {
        gdt[10] = descriptor((uint32_t)ldt, DIFF_LDT_COUNT * 8 - 1, 0x082);
        gdt[11] = ldt >> 32;
    }
    return mem_write(guest->mem, PHYS_KERNEL + OFFSET_GDT, gdt, sizeof(gdt));
}

/* The same as native_main.c asks of Linux, which sets the accessed and AVL bits. */
static const struct engine_segment ldt_entries[DIFF_LDT_COUNT] = {
    [DIFF_LDT_RW] = {DIFF_RW0, DIFF_RW_SIZE - 1, DIFF_LDT_SELECTOR(DIFF_LDT_RW), 0x5f3},
    [DIFF_LDT_DOWN] = {DIFF_RW0, DIFF_PAGE - 1, DIFF_LDT_SELECTOR(DIFF_LDT_DOWN), 0x5f7},
    [DIFF_LDT_RO] = {DIFF_RW0, DIFF_RW_SIZE - 1, DIFF_LDT_SELECTOR(DIFF_LDT_RO), 0x5f1},
    [DIFF_LDT_GONE] = {DIFF_RW0, DIFF_RW_SIZE - 1, DIFF_LDT_SELECTOR(DIFF_LDT_GONE), 0x573},
    [DIFF_LDT_CODE16] = {DIFF_CODE, DIFF_PAGE - 1, DIFF_LDT_SELECTOR(DIFF_LDT_CODE16), 0x1fb},
    [DIFF_LDT_STACK16] = {DIFF_RW0, DIFF_RW_SIZE - 1, DIFF_LDT_SELECTOR(DIFF_LDT_STACK16), 0x1f3},
};

static int make_ldt(struct guest *guest)
{
    uint64_t ldt[DIFF_LDT_COUNT] = {0};
    for (unsigned i = 1; i < DIFF_LDT_COUNT; i++)
        ldt[i] = descriptor((uint32_t)ldt_entries[i].base, ldt_entries[i].limit,
                            ldt_entries[i].attributes);
    return mem_write(guest->mem, PHYS_KERNEL + OFFSET_LDT, ldt, sizeof(ldt));
}

static int make_idt(struct guest *guest)
{
    for (unsigned vector = 0; vector < 256; vector++) {
        uint64_t handler = KERNEL + OFFSET_HANDLERS + (uint64_t)vector * HANDLER_SIZE;
        /* Interrupt gates; user mode may use only INT3 and INTO, as Linux has it. */
        uint64_t type = vector == 3 || vector == 4 ? 0xee : 0x8e;
        uint64_t gate[2] = {(handler & 0xffff) | (uint64_t)KERNEL_CS << 16 | type << 40 |
                                (handler >> 16 & 0xffff) << 48,
                            handler >> 32};
        const uint8_t code[4] = {0xe6, (uint8_t)vector, 0xeb, 0xfc};
        int e = mem_write(guest->mem, PHYS_KERNEL + OFFSET_IDT + (uint64_t)vector * 16, gate,
                          sizeof(gate));
        if (e != 0)
            return e;
        e = mem_write(guest->mem, PHYS_KERNEL + OFFSET_HANDLERS + (uint64_t)vector * HANDLER_SIZE,
                      code, sizeof(code));
        if (e != 0)
            return e;
    }
    return 0;
}

static int make_tss(struct guest *guest)
{
    uint8_t tss[TSS_LIMIT + 1] = {0};
    put_le64(tss + 4, KERNEL + STACK_TOP);
    put_le16(tss + 102, TSS_LIMIT + 1);
    return mem_write(guest->mem, PHYS_KERNEL + OFFSET_TSS, tss, sizeof(tss));
}

static int make_memory(struct guest *guest)
{
    int e = make_page_tables(guest);
    e = e != 0 ? e : make_gdt(guest);
    e = e != 0 ? e : make_ldt(guest);
    e = e != 0 ? e : make_idt(guest);
    e = e != 0 ? e : make_tss(guest);
    e = e != 0 ? e : mem_fill(guest->mem, PHYS_CODE, 0xcc, DIFF_PAGE);
    return e;
}

/* ---- registers ---- */

static struct engine_segment flat(uint16_t selector, uint16_t attributes)
{
    return (struct engine_segment){
        .selector = selector, .limit = 0xffffffff, .attributes = attributes};
}

static struct engine_segment from_selector(uint16_t selector, uint64_t base)
{
    if ((selector & 4) != 0)
        return ldt_entries[selector / 8];
    switch (selector) {
    case DIFF_USER_CS32:
        return flat(selector, 0xcfb);
    case DIFF_USER_CS64:
        return flat(selector, 0xafb);
    case DIFF_USER_DS:
        return flat(selector, 0xcf3);
    default:
        return (struct engine_segment){
            .base = base, .selector = selector, .attributes = SEGMENT_UNUSABLE};
    }
}

static void make_base_registers(struct guest *guest)
{
    struct engine_registers *r = &guest->base;
    r->cr0 = 0x80050033;        /* PG AM WP NE ET MP PE */
    r->cr4 = 0x50ee0 & ~0x800U; /* OSXSAVE FSGSBASE OSXMMEXCPT OSFXSR PGE MCE PAE */
    r->cr3 = PHYS_PML4;
    r->efer = 0xd01; /* NXE LMA LME SCE */
    r->xcr0 = 7;
    r->gdt = (struct engine_table){KERNEL + OFFSET_GDT, GDT_ENTRIES * 8 - 1};
    r->idt = (struct engine_table){KERNEL + OFFSET_IDT, 0xfff};
    r->segment[SEGMENT_TR] =
        (struct engine_segment){KERNEL + OFFSET_TSS, TSS_LIMIT, TSS_SELECTOR, 0x08b};
    r->segment[SEGMENT_LDTR] = (struct engine_segment){.attributes = SEGMENT_UNUSABLE};
    if (guest->has_ldt)
        r->segment[SEGMENT_LDTR] = (struct engine_segment){
            KERNEL + OFFSET_LDT, DIFF_LDT_COUNT * 8 - 1, LDT_SELECTOR, 0x082};
    r->activity = ENGINE_ACTIVITY_RUNNING;
}

static void load_state(struct guest *guest, const struct diff_state *in)
{
    static const uint8_t segment[DIFF_SEGMENTS] = {
        [DIFF_ES] = SEGMENT_ES, [DIFF_CS] = SEGMENT_CS, [DIFF_SS] = SEGMENT_SS,
        [DIFF_DS] = SEGMENT_DS, [DIFF_FS] = SEGMENT_FS, [DIFF_GS] = SEGMENT_GS};
    struct engine_registers *r = &guest->now;
    *r = guest->base;
    memcpy(r->gpr, in->gpr, sizeof(r->gpr)); /* both in the order of the encoding */
    r->rip = in->rip;
    r->rflags = in->rflags;
    for (unsigned i = 0; i < DIFF_SEGMENTS; i++) {
        uint64_t base = i == DIFF_FS ? in->fs_base : i == DIFF_GS ? in->gs_base : 0;
        r->segment[segment[i]] = from_selector(in->segment[i], base);
    }
    memcpy(r->xsave, in->xsave, DIFF_XSAVE_SIZE);
}

static void store_state(const struct engine_registers *r, struct diff_state *ret)
{
    memcpy(ret->gpr, r->gpr, sizeof(ret->gpr));
    ret->segment[DIFF_ES] = r->segment[SEGMENT_ES].selector;
    ret->segment[DIFF_DS] = r->segment[SEGMENT_DS].selector;
    ret->segment[DIFF_FS] = r->segment[SEGMENT_FS].selector;
    ret->segment[DIFF_GS] = r->segment[SEGMENT_GS].selector;
    ret->fs_base = r->segment[SEGMENT_FS].base;
    ret->gs_base = r->segment[SEGMENT_GS].base;
    memcpy(ret->xsave, r->xsave, DIFF_XSAVE_SIZE);
}

static bool pushes_error_code(unsigned vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

/* The processor's frame on the kernel's stack: Intel SDM vol. 3A figure 6-9. */
static int read_frame(struct guest *guest, unsigned vector, struct diff_result *ret)
{
    uint64_t word[6] = {0};
    unsigned count = pushes_error_code(vector) ? 6 : 5;
    const uint64_t *frame = word + (6 - count);
    if (guest->now.gpr[GPR_RSP] != KERNEL + STACK_TOP - (uint64_t)count * 8)
        return -EPROTO;
    int e = mem_read(guest->mem, PHYS_KERNEL + STACK_TOP - (uint64_t)count * 8, word + (6 - count),
                     (size_t)count * 8);
    if (e != 0)
        return e;
    if (count == 6)
        ret->error = *frame++;
    ret->out.rip = frame[0];
    ret->out.segment[DIFF_CS] = (uint16_t)frame[1];
    ret->out.rflags = frame[2];
    ret->out.gpr[GPR_RSP] = frame[3];
    ret->out.segment[DIFF_SS] = (uint16_t)frame[4];
    return 0;
}

/* ---- cases ---- */

static int load_data(struct guest *guest, const uint8_t *data, const struct diff_case *c)
{
    uint8_t wanted[DIFF_DATA_SIZE];
    memcpy(wanted, data, sizeof(wanted));
    for (unsigned i = 0; i < c->patch_count; i++)
        memcpy(wanted + c->patch[i].offset, c->patch[i].bytes, c->patch[i].length);
    for (size_t at = 0; at < sizeof(wanted); at += DIFF_PAGE) {
        if (memcmp(wanted + at, guest->data + at, DIFF_PAGE) == 0)
            continue;
        int e = mem_write(guest->mem, PHYS_DATA + at, wanted + at, DIFF_PAGE);
        if (e != 0)
            return e;
    }
    return 0;
}

static int load_code(struct guest *guest, const struct diff_case *c)
{
    int e =
        mem_fill(guest->mem, PHYS_CODE + guest->dirty_code_offset, 0xcc, guest->dirty_code_length);
    guest->dirty_code_offset = c->code_offset;
    guest->dirty_code_length = c->code_length;
    return e != 0 ? e : mem_write(guest->mem, PHYS_CODE + c->code_offset, c->code, c->code_length);
}

static int run_to_trap(struct guest *guest, struct engine_exit *exit)
{
    __atomic_add_fetch(&guest->runs, 1, __ATOMIC_ACQ_REL);
    exit->kind = ENGINE_EXIT_NONE;
    int e = guest->ops->run(guest->vcpu, exit);
    __atomic_add_fetch(&guest->runs, 1, __ATOMIC_ACQ_REL);
    return e;
}

static int take_result(struct guest *guest, const struct engine_exit *exit, struct diff_result *ret)
{
    int e = guest->ops->get(guest->vcpu, &guest->now);
    if (e != 0)
        return e;
    store_state(&guest->now, &ret->out);
    ret->cr2 = guest->now.cr2;
    ret->outcome = DIFF_TRAPPED;
    ret->vector = exit->port.port;
    return read_frame(guest, ret->vector, ret);
}

int guest_run(struct guest *guest, const uint8_t *data, const struct diff_case *c,
              struct diff_result *ret)
{
    struct engine_exit exit = {.kind = ENGINE_EXIT_NONE};
    int e = load_data(guest, data, c);
    e = e != 0 ? e : load_code(guest, c);
    load_state(guest, &c->in);
    e = e != 0 ? e : guest->ops->set(guest->vcpu, &guest->now);
    e = e != 0 ? e : run_to_trap(guest, &exit);
    ret->outcome = DIFF_DIED;
    ret->error = 0;
    if (e == 0 && exit.kind == ENGINE_EXIT_PORT_WRITE)
        e = take_result(guest, &exit, ret);
    else if (exit.kind == ENGINE_EXIT_KICKED)
        ret->outcome = DIFF_STUCK;
    e = e != 0 ? e : mem_read(guest->mem, PHYS_DATA, guest->data, DIFF_DATA_SIZE);
    memcpy(ret->data, guest->data, DIFF_DATA_SIZE);
    return e;
}

int guest_features(struct guest *guest, struct policy *ret)
{
    struct diff_result *result = calloc(1, sizeof(*result));
    if (result == NULL)
        return -ENOMEM;
    int e = 0;
    for (unsigned i = 0; i < WORD_COUNT && e == 0; i++) {
        struct diff_case c = {.code_length = 2, .code = {0x0f, 0xa2}};
        c.in = (struct diff_state){.rip = DIFF_CODE, .rflags = 0x202};
        c.in.segment[DIFF_CS] = DIFF_USER_CS64;
        c.in.segment[DIFF_SS] = DIFF_USER_DS;
        c.in.gpr[GPR_RAX] = policy_place[i].leaf;
        c.in.gpr[GPR_RCX] = policy_place[i].subleaf;
        put_le32(c.in.xsave + 24, 0x1f80);
        e = guest_run(guest, guest->data, &c, result);
        if (e == 0 && (result->outcome != DIFF_TRAPPED || result->vector != 3))
            e = -EPROTO;
        static const uint8_t gpr[4] = {GPR_RAX, GPR_RBX, GPR_RCX, GPR_RDX};
        ret->word[i] = (uint32_t)result->out.gpr[gpr[policy_place[i].reg]];
    }
    free(result);
    return e;
}

/* ---- life ---- */

static void *watch(void *argument)
{
    struct guest *guest = argument;
    uint64_t last = 0;
    unsigned same = 0;
    while (!__atomic_load_n(&guest->stopping, __ATOMIC_ACQUIRE)) {
        struct timespec step = {.tv_nsec = 100 * 1000000L};
        (void)nanosleep(&step, NULL);
        uint64_t runs = __atomic_load_n(&guest->runs, __ATOMIC_ACQUIRE);
        same = runs == last && (runs & 1) != 0 ? same + 1 : 0;
        last = runs;
        if (same >= STUCK_SECONDS * 10) {
            guest->ops->kick(guest->vcpu);
            same = 0;
        }
    }
    return NULL;
}

int guest_create(const struct engine_ops *ops, enum engine_cpu_level level,
                 enum engine_translate translate, bool has_ldt, struct guest **ret,
                 struct reason *reason)
{
    struct guest *guest = calloc(1, sizeof(*guest));
    if (guest == NULL)
        return reason_set(reason, -ENOMEM, "no memory for the guest");
    guest->ops = ops;
    guest->has_ldt = has_ldt;
    int e = mem_create(GUEST_MEMORY, GUEST_MEMORY, &guest->mem);
    struct engine_config config = {
        .mem = guest->mem, .vcpu_count = 1, .cpu_level = level, .translate = translate};
    e = e != 0 ? e : make_memory(guest);
    e = e != 0 ? e : ops->partition_create(&config, &guest->partition, reason);
    e = e != 0 ? e : ops->vcpu_create(guest->partition, 0, &guest->vcpu, reason);
    e = e != 0 ? e : ops->get(guest->vcpu, &guest->base);
    if (e == 0) {
        make_base_registers(guest);
        e = -pthread_create(&guest->watchdog, NULL, watch, guest);
        guest->watching = e == 0;
    }
    if (e != 0) {
        guest_destroy(guest);
        return e;
    }
    *ret = guest;
    return 0;
}

void guest_destroy(struct guest *guest)
{
    if (guest == NULL)
        return;
    __atomic_store_n(&guest->stopping, true, __ATOMIC_RELEASE);
    if (guest->watching)
        (void)pthread_join(guest->watchdog, NULL);
    if (guest->vcpu != NULL)
        guest->ops->vcpu_destroy(guest->vcpu);
    if (guest->partition != NULL)
        guest->ops->partition_destroy(guest->partition);
    if (guest->mem != NULL)
        mem_destroy(guest->mem);
    free(guest);
}
