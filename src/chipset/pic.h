/* Two cascaded 8259A interrupt controllers with the ELCR of the PIIX: ports 0x20, 0xa0, 0x4d0. */
#ifndef CHIPSET_PIC_H
#define CHIPSET_PIC_H

#include "chipset/device.h"

struct pic;

/* `host` must outlive the device; only its extint verb is used. */
int pic_create(const struct chipset_host *host, struct pic **ret);
void pic_destroy(struct pic *pic);
void pic_reset(struct pic *pic);
int pic_visit_state(struct pic *pic, struct state_visitor *visitor);
int pic_attach(struct pic *pic, struct bus *bus);

/* `irq` 0 to 15; 2 is the cascade and has no line. */
void pic_set_irq(struct pic *pic, unsigned irq, bool level);
/* INTA cycle: the vector; IRQ 7's (or 15's) when nothing asks any more. */
uint8_t pic_acknowledge(struct pic *pic);

#endif
