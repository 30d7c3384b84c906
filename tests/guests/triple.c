/* A fault while a double fault is delivered: the machine must shut down, not go on (SDM vol. 3A
 * § 6.15, #DF). run.py --expect-crash judges the end. */
#include "cpu.h"
#include "tap.h"

void test_main(void)
{
    struct table_pointer empty = {0, 0};

    check(true, "the guest is about to shut down by a triple fault");
    load_idt(&empty);
    asm volatile("ud2");
    bail_out("the guest goes on after a triple fault");
}
