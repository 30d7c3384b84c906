/*
 * Time by channel 2 of the 8254 timer, whose output port 0x61 shows (1.193182 MHz).
 * ISA System Architecture; Intel 8254 datasheet.
 */
#ifndef GUEST_TIMING_H
#define GUEST_TIMING_H

#include "types.h"

void delay_us(unsigned us); /* at most 50000 */
uint64_t tsc_per_ms(void);  /* measured once */

/* Waits for `*counter` to reach `value`, at most `ms`. Interrupts are as the caller has them. */
bool wait_for_count(volatile unsigned *counter, unsigned value, unsigned ms);

#endif
