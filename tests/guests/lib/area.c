/* See area.h. */
#include "area.h"

#include "cpu.h"

char areas[CPUS_MAX][AREA_SIZE] __attribute__((aligned(AREA_SIZE)));

_Static_assert(sizeof(struct area) <= AREA_USER_STACK - 0x1000, "the user stack has its 4 KiB");
_Static_assert(offsetof(struct area, io_permissions) ==
                   offsetof(struct area, task) + sizeof(struct task_state),
               "the I/O permissions follow the task state");

#ifdef __x86_64__
#    define CODE_KERNEL 0x00af9b000000ffffull
#else
#    define CODE_KERNEL 0x00cf9b000000ffffull
#endif

static const uint64_t fixed_descriptors[] = {
    0,
    CODE_KERNEL,
    0x00cf93000000ffffull, /* KERNEL_DS */
    0x00cf9b000000ffffull, /* KERNEL_CS32 */
    0x00009b000000ffffull, /* KERNEL_CS16 */
    0x00cffb000000ffffull, /* USER_CS32 */
    0x00cff3000000ffffull, /* USER_DS */
    0x00affb000000ffffull, /* USER_CS64 */
};

static void task_start(struct area *area)
{
    word base = (word)&area->task;
    uint64_t limit = sizeof(struct task_state) + sizeof(area->io_permissions) - 1;

    __builtin_memset(area->io_permissions, 0xff, sizeof(area->io_permissions));
    area->task.io_map = sizeof(struct task_state);
#ifdef __x86_64__
    area->task.ist[0] = (word)area + AREA_IST1;
    area->task.ist[1] = (word)area + AREA_IST2;
    area->task.ist[2] = (word)area + AREA_IST3;
    area->gdt[TASK_SEGMENT / 8 + 1] = base >> 32;
#else
    area->task.ss0 = KERNEL_DS;
#endif
    area->gdt[TASK_SEGMENT / 8] = limit | (uint64_t)(base & 0xffffff) << 16 | 0x89ull << 40 |
                                  (uint64_t)(base >> 24 & 0xff) << 56;
    asm volatile("ltr %w0" : : "r"(TASK_SEGMENT) : "memory");
}

void area_start(uint32_t index)
{
    struct area *area = area_of(index);
    struct table_pointer table = {sizeof(area->gdt) - 1, (word)area->gdt};

    area->index = index;
    __builtin_memcpy(area->gdt, fixed_descriptors, sizeof(fixed_descriptors));
    load_gdt(&table);
    asm volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%ss; mov %0, %%fs; mov %0, %%gs"
                 :
                 : "r"(KERNEL_DS)
                 : "memory");
    task_start(area);
}
