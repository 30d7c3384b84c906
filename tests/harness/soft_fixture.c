#include "tests/harness/soft_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/soft/thunk.h"
#include "mem/mem.h"

enum {
    HANDLERS32_AT = HANDLERS_AT + 0x400,
    HANDLERS16_AT = HANDLERS_AT + 0x800,
    IDT32_AT = 0x11000,
    IDT16_AT = 0x12000,
    HANDLER_SIZE = 4,
    GATE_INTERRUPT = 0x8e,
    TSS_LIMIT = 0x2067,
    STACK_SIZE = 0x2000,
};

static void must(bool good, const char *what)
{
    if (good)
        return;
    (void)fprintf(stderr, "soft_fixture: %s\n", what);
    abort();
}

/* ---- what lies in memory ---- */

static void put(struct guest *guest, uint64_t gpa, const void *bytes, size_t length)
{
    memcpy(guest->ram + gpa, bytes, length);
}

static void put64(struct guest *guest, uint64_t gpa, uint64_t value)
{
    put(guest, gpa, &value, sizeof(value));
}

/* `out V, al`, then IRET of the mode's width. */
static void put_handler(struct guest *guest, uint64_t at, unsigned vector, const char *iret)
{
    const uint8_t bytes[HANDLER_SIZE] = {0xe6, (uint8_t)vector, (uint8_t)iret[0], (uint8_t)iret[1]};
    put(guest, at + vector * HANDLER_SIZE, bytes, sizeof(bytes));
}

static uint64_t gate(uint64_t offset, uint16_t selector)
{
    return (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)GATE_INTERRUPT << 40 |
           ((offset >> 16) & 0xffff) << 48;
}

static void put_handlers(struct guest *guest)
{
    for (unsigned vector = 0; vector < 256; vector++) {
        put_handler(guest, HANDLERS_AT, vector, "\x48\xcf");
        put_handler(guest, HANDLERS32_AT, vector, "\xcf\x90");
        put_handler(guest, HANDLERS16_AT, vector, "\xcf\x90");
        put64(guest, IDT_AT + vector * 16,
              gate(HANDLERS_AT + vector * HANDLER_SIZE, CODE64_SELECTOR));
        put64(guest, IDT_AT + vector * 16 + 8, 0);
        put64(guest, IDT32_AT + vector * 8,
              gate(HANDLERS32_AT + vector * HANDLER_SIZE, CODE32_SELECTOR));
        uint16_t real[2] = {(uint16_t)(HANDLERS16_AT + vector * HANDLER_SIZE), 0};
        put(guest, IDT16_AT + vector * 4, real, sizeof(real));
    }
}

static void put_descriptors(struct guest *guest)
{
    put64(guest, GDT_AT + CODE64_SELECTOR, UINT64_C(0x00af9b000000ffff));
    put64(guest, GDT_AT + DATA_SELECTOR, UINT64_C(0x00cf93000000ffff));
    put64(guest, GDT_AT + CODE32_SELECTOR, UINT64_C(0x00cf9b000000ffff));
    put64(guest, GDT_AT + (USER_CODE32_SELECTOR & ~7), UINT64_C(0x00cffb000000ffff));
    put64(guest, GDT_AT + (USER_DATA_SELECTOR & ~7), UINT64_C(0x00cff3000000ffff));
    put64(guest, GDT_AT + (USER_CODE64_SELECTOR & ~7), UINT64_C(0x00affb000000ffff));
    put64(guest, TSS_AT + 4, STACK_TOP - STACK_SIZE / 2); /* RSP0 */
}

static void put_tables(struct guest *guest)
{
    enum { TABLE = PAGE_P | PAGE_W | PAGE_U, LARGE = TABLE | PAGE_PS };
    put64(guest, PML4_AT, PDPT_AT | TABLE);
    put64(guest, PDPT_AT, PD_AT | TABLE);
    put64(guest, PD_AT, PT_AT | TABLE);
    for (uint64_t i = 1; i < guest->size >> 21; i++)
        put64(guest, PD_AT + i * 8, i << 21 | LARGE);
    put64(guest, PD_AT + (MMIO_LINEAR >> 21) * 8, MMIO_GPA | LARGE);
    for (uint64_t i = 0; i < 512; i++)
        put64(guest, PT_AT + i * 8, i << 12 | TABLE);
}

/* ---- making and ending ---- */

static void make_vcpus(struct guest *guest, unsigned count)
{
    struct reason reason;
    guest->count = count;
    for (unsigned i = 0; i < count; i++) {
        must(soft_engine.vcpu_create(guest->partition, i, &guest->vcpus[i], &reason) == 0,
             "no virtual processor");
        guest->cpus[i] = guest->soft->cpu[i];
    }
    guest->vcpu = guest->vcpus[0];
    guest->cpu = guest->cpus[0];
}

static void fill_memory(struct guest *guest)
{
    put_handlers(guest);
    put_descriptors(guest);
    put_tables(guest);
}

void guest_reset(struct guest *guest)
{
    must(mem_fill(guest->mem, 0, 0, guest->size) == 0, "no RAM to fill");
    fill_memory(guest);
    for (unsigned i = 0; i < guest->count; i++) {
        cpu_reset(guest->cpus[i], false);
        atomic_store(&guest->cpus[i]->pending, PENDING_EPOCH);
        guest->cpus[i]->asked = false;
        guest_use_long(guest, i);
    }
}

static struct guest *make_guest(uint64_t ram, struct engine_config config)
{
    struct reason reason;
    struct guest *guest = calloc(1, sizeof(*guest));
    must(guest != NULL && config.vcpu_count <= GUEST_CPUS, "no memory");
    must(mem_create(ram, UINT64_C(0xc0000000), &guest->mem) == 0, "no guest memory");
    guest->ram = mem_base(guest->mem);
    guest->size = ram;
    config.mem = guest->mem;
    config.cpu_level = ENGINE_CPU_HOST;
    must(soft_engine.partition_create(&config, &guest->partition, &reason) == 0, "no partition");
    /* Its first member, see soft.c. */
    guest->soft = (struct soft_partition *)(void *)guest->partition;
    fill_memory(guest);
    make_vcpus(guest, config.vcpu_count);
    for (unsigned i = 0; i < config.vcpu_count; i++)
        guest_use_long(guest, i);
    return guest;
}

struct guest *guest_create_with(unsigned vcpus, enum engine_translate translate)
{
    struct engine_config config = {.vcpu_count = vcpus, .translate = translate};
    return make_guest(GUEST_RAM, config);
}

struct guest *guest_create_small(uint64_t ram, enum engine_translate translate)
{
    enum { CODE_MEMORY = 48 << 20 };
    struct engine_config config = {
        .vcpu_count = 1, .translate = translate, .code_memory = CODE_MEMORY};
    return make_guest(ram, config);
}

struct guest *guest_create(unsigned vcpus)
{
    /* NOLINTNEXTLINE(concurrency-mt-unsafe) */
    bool always = getenv("SOFT_FIXTURE_TRANSLATES") != NULL;
    return guest_create_with(vcpus, always ? ENGINE_TRANSLATE_ALWAYS : ENGINE_TRANSLATE_HOT);
}

void guest_destroy(struct guest *guest)
{
    for (unsigned i = 0; i < guest->count; i++)
        soft_engine.vcpu_destroy(guest->vcpus[i]);
    soft_engine.partition_destroy(guest->partition);
    mem_destroy(guest->mem);
    free(guest);
}

int guest_setup(void **state)
{
    *state = guest_create(1);
    return 0;
}

int guest_setup_translated(void **state)
{
    *state = guest_create_with(1, ENGINE_TRANSLATE_ALWAYS);
    return 0;
}

int guest_teardown(void **state)
{
    guest_destroy(*state);
    return 0;
}

/* ---- modes ---- */

enum {
    ATTRIBUTES_DATA = SEGMENT_P | SEGMENT_S | 3,
    ATTRIBUTES_CODE = SEGMENT_P | SEGMENT_S | 0xb,
    ATTRIBUTES_FLAT = SEGMENT_DB | SEGMENT_G,
};

static struct engine_segment flat(uint16_t selector, unsigned attributes)
{
    return (struct engine_segment){
        .limit = UINT32_MAX,
        .selector = selector,
        .attributes = (uint16_t)(attributes | SEGMENT_G | (selector & 3u) << SEGMENT_DPL_SHIFT)};
}

static void use_segments(struct engine_registers *r, struct engine_segment code, uint16_t data)
{
    for (unsigned i = SEGMENT_ES; i <= SEGMENT_GS; i++)
        r->segment[i] = flat(data, ATTRIBUTES_DATA | ATTRIBUTES_FLAT);
    r->segment[SEGMENT_CS] = code;
    r->segment[SEGMENT_LDTR] = (struct engine_segment){.attributes = SEGMENT_UNUSABLE};
    r->segment[SEGMENT_TR] = (struct engine_segment){.base = TSS_AT,
                                                     .limit = TSS_LIMIT,
                                                     .selector = TSS_SELECTOR,
                                                     .attributes = SEGMENT_P | 0xb};
}

static void begin_mode(struct guest *guest, unsigned index, struct engine_registers *ret)
{
    (void)soft_engine.get(guest->vcpus[index], ret);
    memset(ret->gpr, 0, sizeof(ret->gpr));
    memset(ret->dr, 0, sizeof(ret->dr));
    ret->dr[7] = 0x400;
    ret->gpr[GPR_RSP] = STACK_TOP - index * STACK_SIZE;
    ret->rip = CODE_AT;
    ret->rflags = FLAG_FIXED;
    ret->gdt = (struct engine_table){GDT_AT, 0xfff};
    ret->cr3 = PML4_AT;
    ret->cr4 = 0;
    ret->efer = 0;
    ret->xcr0 = 1;
    ret->activity = ENGINE_ACTIVITY_RUNNING;
}

void guest_use_long(struct guest *guest, unsigned index)
{
    struct engine_registers r;
    begin_mode(guest, index, &r);
    use_segments(&r, flat(CODE64_SELECTOR, ATTRIBUTES_CODE | SEGMENT_L), DATA_SELECTOR);
    r.idt = (struct engine_table){IDT_AT, 0xfff};
    r.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_MP | CR0_WP | CR0_PG;
    r.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    r.efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
    r.xcr0 = 7;
    (void)soft_engine.set(guest->vcpus[index], &r);
}

void guest_use_protected(struct guest *guest, unsigned index)
{
    struct engine_registers r;
    begin_mode(guest, index, &r);
    use_segments(&r, flat(CODE32_SELECTOR, ATTRIBUTES_CODE | ATTRIBUTES_FLAT), DATA_SELECTOR);
    r.idt = (struct engine_table){IDT32_AT, 0x7ff};
    r.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_MP;
    r.cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT;
    (void)soft_engine.set(guest->vcpus[index], &r);
}

void guest_use_real(struct guest *guest, unsigned index)
{
    struct engine_registers r;
    begin_mode(guest, index, &r);
    for (unsigned i = SEGMENT_ES; i <= SEGMENT_GS; i++)
        r.segment[i] = (struct engine_segment){.limit = 0xffff, .attributes = ATTRIBUTES_DATA};
    r.segment[SEGMENT_CS] = (struct engine_segment){
        .base = CODE_AT, .limit = 0xffff, .selector = CODE_AT >> 4, .attributes = ATTRIBUTES_CODE};
    r.idt = (struct engine_table){IDT16_AT, 0x3ff};
    r.cr0 = CR0_ET;
    r.gpr[GPR_RSP] = 0xf000;
    r.rip = 0;
    (void)soft_engine.set(guest->vcpus[index], &r);
}

void guest_use_user(struct guest *guest, unsigned index)
{
    struct engine_registers r;
    (void)soft_engine.get(guest->vcpus[index], &r);
    use_segments(&r, flat(USER_CODE64_SELECTOR, ATTRIBUTES_CODE | SEGMENT_L), USER_DATA_SELECTOR);
    (void)soft_engine.set(guest->vcpus[index], &r);
}

/* ---- memory ---- */

void guest_write(struct guest *guest, uint64_t gpa, const void *bytes, size_t length)
{
    must(mem_write(guest->mem, gpa, bytes, length) == 0, "write outside RAM");
}

void guest_write64(struct guest *guest, uint64_t gpa, uint64_t value)
{
    guest_write(guest, gpa, &value, sizeof(value));
}

uint64_t guest_read64(const struct guest *guest, uint64_t gpa)
{
    uint64_t value = 0;
    must(mem_read(guest->mem, gpa, &value, sizeof(value)) == 0, "read outside RAM");
    return value;
}

uint32_t guest_read32(const struct guest *guest, uint64_t gpa)
{
    uint32_t value = 0;
    must(mem_read(guest->mem, gpa, &value, sizeof(value)) == 0, "read outside RAM");
    return value;
}

void guest_map(struct guest *guest, uint64_t linear, uint64_t entry)
{
    must(linear < (2 << 20), "only the first 2 MiB have page tables");
    guest_write64(guest, PT_AT + (linear >> 12) * 8, entry);
}

/* ---- running ---- */

void guest_place(struct guest *guest, uint64_t at, const void *bytes, size_t length)
{
    static const uint8_t end[] = {0xe6, PORT_DONE};
    if (length != 0)
        guest_write(guest, at, bytes, length);
    guest_write(guest, at + length, end, sizeof(end));
}

static void forget(struct cpu *cpu)
{
    exit_forget(cpu);
    cpu->asked = false;
}

void guest_start(struct guest *guest, uint64_t rip)
{
    forget(guest->cpu);
    guest->cpu->rip = rip;
    guest->cpu->activity = ENGINE_ACTIVITY_RUNNING;
}

enum engine_exit_kind guest_run(struct guest *guest)
{
    /* cmocka puts its own handlers in their place for each test. */
    must(thunk_install_signals() == 0, "no handlers of signals");
    must(soft_engine.run(guest->vcpu, &guest->exit) == 0, "run() failed");
    return guest->exit.kind;
}

int guest_run_to_port(struct guest *guest)
{
    return guest_run(guest) == ENGINE_EXIT_PORT_WRITE ? guest->exit.port.port : -1;
}

struct runner {
    struct guest *guest;
    unsigned index;
};

static void *run_thread(void *argument)
{
    struct runner *runner = argument;
    unsigned i = runner->index;
    must(soft_engine.run(runner->guest->vcpus[i], &runner->guest->exits[i]) == 0, "run() failed");
    free(runner);
    return NULL;
}

void guest_begin(struct guest *guest, unsigned index)
{
    struct runner *runner = malloc(sizeof(*runner));
    must(runner != NULL, "no memory");
    *runner = (struct runner){guest, index};
    forget(guest->cpus[index]);
    must(pthread_create(&guest->threads[index], NULL, run_thread, runner) == 0, "no thread");
}

int guest_end(struct guest *guest, unsigned index)
{
    must(pthread_join(guest->threads[index], NULL) == 0, "no end of a thread");
    const struct engine_exit *exit = &guest->exits[index];
    return exit->kind == ENGINE_EXIT_PORT_WRITE ? exit->port.port : -1;
}

int guest_try(struct guest *guest, const void *bytes, size_t length)
{
    guest_place(guest, CODE_AT, bytes, length);
    guest_start(guest, guest->cpu->mode & MODE_REAL ? 0 : CODE_AT);
    return guest_run_to_port(guest);
}

uint64_t guest_frame(const struct guest *guest, unsigned word)
{
    return guest_read64(guest, guest->cpu->gpr[GPR_RSP] + word * 8);
}
