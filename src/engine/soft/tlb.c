#include "engine/soft/tlb.h"

#include <errno.h>
#include <sys/mman.h>

enum { TABLE_COUNT = TLB_SLOTS * TLB_VIEWS };
enum { NO_PCID = 0xffff };

static void flush_table(struct cpu *cpu, struct tlb *tlb)
{
    if (tlb->used <= TLB_MAX_USED) {
        for (unsigned i = 0; i < tlb->used; i++)
            tlb->entry[tlb->used_index[i]] = (struct tlb_entry){0};
    } else {
        for (unsigned i = 0; i < TLB_ENTRIES; i++)
            tlb->entry[i] = (struct tlb_entry){0};
    }
    tlb->used = 0;
    tlb->context = ++cpu->last_context;
}

int tlb_create(struct cpu *cpu)
{
    void *tables = mmap(NULL, TABLE_COUNT * sizeof(struct tlb), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (tables == MAP_FAILED)
        return -ENOMEM;
    cpu->tables = tables;
    for (unsigned i = 0; i < TABLE_COUNT; i++)
        cpu->tables[i].context = ++cpu->last_context;
    for (unsigned i = 0; i < TLB_SLOTS; i++)
        cpu->slot_pcid[i] = NO_PCID;
    cpu->slot_pcid[0] = 0;
    cpu->tlb = cpu->tables;
    return 0;
}

void tlb_destroy(struct cpu *cpu)
{
    if (cpu->tables != NULL)
        (void)munmap(cpu->tables, TABLE_COUNT * sizeof(struct tlb));
    cpu->tables = NULL;
}

void tlb_select(struct cpu *cpu)
{
    unsigned view = VIEW_SUPERVISOR;
    if (cpu->cpl == 3)
        view = cpu_checks_alignment(cpu) ? VIEW_USER_ALIGNED : VIEW_USER;
    else if ((cpu->cr4 & CR4_SMAP) != 0 && (cpu->flags & FLAG_AC) == 0)
        view = VIEW_SUPERVISOR_SMAP;
    cpu->tlb = &cpu->tables[cpu->slot * TLB_VIEWS + view];
}

static void flush_slot(struct cpu *cpu, unsigned slot)
{
    for (unsigned view = 0; view < TLB_VIEWS; view++)
        flush_table(cpu, &cpu->tables[slot * TLB_VIEWS + view]);
}

static unsigned find_slot(struct cpu *cpu, uint16_t pcid)
{
    for (unsigned slot = 0; slot < TLB_SLOTS; slot++) {
        if (cpu->slot_pcid[slot] == pcid)
            return slot;
    }
    return TLB_SLOTS;
}

void tlb_switch(struct cpu *cpu, uint16_t pcid, bool keep)
{
    unsigned slot = find_slot(cpu, pcid);
    if (slot == TLB_SLOTS) {
        slot = cpu->next_slot++ % TLB_SLOTS;
        cpu->slot_pcid[slot] = pcid;
        keep = false;
    }
    if (!keep)
        flush_slot(cpu, slot);
    cpu->slot = slot;
    tlb_select(cpu);
}

void tlb_flush_all(struct cpu *cpu)
{
    for (unsigned slot = 0; slot < TLB_SLOTS; slot++)
        flush_slot(cpu, slot);
}

void tlb_flush_pcid(struct cpu *cpu, uint16_t pcid)
{
    unsigned slot = find_slot(cpu, pcid);
    if (slot != TLB_SLOTS)
        flush_slot(cpu, slot);
}

void tlb_flush_page(struct cpu *cpu, uint64_t linear)
{
    for (unsigned i = 0; i < TABLE_COUNT; i++) {
        if (cpu->tables[i].used == 0)
            continue;
        *tlb_entry(&cpu->tables[i], linear) = (struct tlb_entry){0};
        cpu->tables[i].context = ++cpu->last_context;
    }
}

static void drop_table_writes(struct tlb *tlb)
{
    if (tlb->used <= TLB_MAX_USED) {
        for (unsigned i = 0; i < tlb->used; i++)
            tlb->entry[tlb->used_index[i]].write = 0;
        return;
    }
    for (unsigned i = 0; i < TLB_ENTRIES; i++)
        tlb->entry[i].write = 0;
}

void tlb_drop_writes(struct cpu *cpu)
{
    for (unsigned i = 0; i < TABLE_COUNT; i++)
        drop_table_writes(&cpu->tables[i]);
}
