/*
 * Intel 8259A datasheet (231468-003); ELCR by the 82371AB datasheet § 4.2.
 *
 * A request is dropped when its line falls before the acknowledge, and INT falls with it. A
 * processor that had seen INT already gets the spurious vector of input 7, as with the chip.
 */
#include "chipset/pic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    CASCADE = 2,
    NONE = 8, /* "no input", where an input is 0 to 7 */

    ICW1 = 0x10, /* bit of the command port */
    ICW1_IC4 = 0x01,
    ICW1_SINGLE = 0x02,
    ICW1_LEVEL = 0x08,
    ICW4_AUTO_EOI = 0x02,
    ICW4_SPECIAL_NESTED = 0x10,

    OCW3 = 0x08, /* bit of the command port */
    OCW3_READ_ISR = 0x01,
    OCW3_READ = 0x02,
    OCW3_POLL = 0x04,
    OCW3_SPECIAL_MASK = 0x20,
    OCW3_SET_SPECIAL_MASK = 0x40,

    /* IRQ 0, 1, 2, 8 and 13 are edge-triggered for ever. */
    MASTER_ELCR_MASK = 0xf8,
    SLAVE_ELCR_MASK = 0xde,
};

/* Which initialization word the data port waits for. */
enum pic_expects { EXPECTS_MASK, EXPECTS_ICW2, EXPECTS_ICW3, EXPECTS_ICW4 };

struct chip {
    uint8_t lines, irr, isr, imr;
    uint8_t elcr;
    uint8_t base;   /* vector of input 0 */
    uint8_t lowest; /* input of lowest priority: 7 unless rotated */
    uint8_t icw1, icw4;
    uint8_t expects;
    bool special_mask, read_isr, poll, rotate_on_auto_eoi;
};

struct pic {
    const struct chipset_host *host;
    bool intr;
    struct chip chip[2]; /* master, slave */
};

static const uint8_t elcr_mask[2] = {MASTER_ELCR_MASK, SLAVE_ELCR_MASK};

/* The set input of highest priority, or NONE. */
static unsigned highest(const struct chip *chip, uint8_t inputs)
{
    for (unsigned i = 1; i <= 8; i++) {
        unsigned input = (chip->lowest + i) & 7;
        if ((inputs >> input & 1) != 0)
            return input;
    }
    return NONE;
}

/* 0 is the highest priority, 8 the one of NONE. */
static unsigned rank(const struct chip *chip, unsigned input)
{
    return input == NONE ? 8 : (input - chip->lowest - 1) & 7;
}

static uint8_t level_inputs(const struct chip *chip)
{
    return (chip->icw1 & ICW1_LEVEL) != 0 ? 0xff : chip->elcr;
}

/* The input that may interrupt now, or NONE. */
static unsigned pending(const struct chip *chip, bool master)
{
    uint8_t blocking = chip->isr;
    if (chip->special_mask)
        blocking &= (uint8_t)~chip->imr;
    /* Special fully nested: a slave in service may interrupt again. */
    if (master && (chip->icw4 & ICW4_SPECIAL_NESTED) != 0)
        blocking &= (uint8_t) ~(1u << CASCADE);
    unsigned wants = highest(chip, chip->irr & (uint8_t)~chip->imr);
    return rank(chip, wants) < rank(chip, highest(chip, blocking)) ? wants : NONE;
}

static void drive_input(struct chip *chip, unsigned input, bool level)
{
    uint8_t bit = (uint8_t)(1u << input);
    bool rises = level && (chip->lines & bit) == 0;
    chip->lines = level ? chip->lines | bit : chip->lines & (uint8_t)~bit;
    if (!level)
        chip->irr &= (uint8_t)~bit;
    else if (rises || (level_inputs(chip) & bit) != 0)
        chip->irr |= bit;
}

static void update(struct pic *pic)
{
    bool slave = pending(&pic->chip[1], false) != NONE;
    drive_input(&pic->chip[0], CASCADE, slave);
    bool intr = pending(&pic->chip[0], true) != NONE;
    if (intr == pic->intr)
        return;
    pic->intr = intr;
    pic->host->extint(pic->host->owner, intr);
}

void pic_set_irq(struct pic *pic, unsigned irq, bool level)
{
    if (irq >= 16 || irq == CASCADE)
        return;
    drive_input(&pic->chip[irq / 8], irq % 8, level);
    update(pic);
}

/* The chip answers INTA (or a poll) for `input`. */
static void take(struct chip *chip, unsigned input)
{
    uint8_t bit = (uint8_t)(1u << input);
    if ((level_inputs(chip) & bit) == 0)
        chip->irr &= (uint8_t)~bit;
    if ((chip->icw4 & ICW4_AUTO_EOI) == 0)
        chip->isr |= bit;
    else if (chip->rotate_on_auto_eoi)
        chip->lowest = (uint8_t)input;
}

static uint8_t acknowledge_chip(struct chip *chip, bool master, unsigned *ret_input)
{
    *ret_input = pending(chip, master);
    if (*ret_input == NONE)
        return chip->base + 7;
    take(chip, *ret_input);
    return (uint8_t)(chip->base + *ret_input);
}

uint8_t pic_acknowledge(struct pic *pic)
{
    unsigned input;
    uint8_t vector = acknowledge_chip(&pic->chip[0], true, &input);
    if (input == CASCADE) {
        vector = acknowledge_chip(&pic->chip[1], false, &input);
        /* The slave's INT falls with the first INTA; a second request raises it anew. */
        drive_input(&pic->chip[0], CASCADE, false);
    }
    update(pic);
    return vector;
}

static void initialize(struct chip *chip, uint8_t icw1)
{
    chip->icw1 = icw1;
    chip->icw4 = 0;
    /* Edges must come anew; what is level-triggered asks as long as it is asserted. */
    chip->irr = chip->lines & level_inputs(chip);
    chip->isr = chip->imr = 0;
    chip->lowest = 7;
    chip->special_mask = chip->read_isr = chip->poll = chip->rotate_on_auto_eoi = false;
    chip->expects = EXPECTS_ICW2;
}

/* In special mask mode a non-specific EOI leaves masked inputs alone. */
static unsigned in_service(const struct chip *chip)
{
    return highest(chip, chip->special_mask ? chip->isr & (uint8_t)~chip->imr : chip->isr);
}

static void write_ocw2(struct chip *chip, uint8_t value)
{
    bool rotate = (value & 0x80) != 0;
    bool specific = (value & 0x40) != 0;
    bool eoi = (value & 0x20) != 0;
    unsigned input = specific ? value & 7 : in_service(chip);

    if (!eoi && !specific) {
        chip->rotate_on_auto_eoi = rotate;
        return;
    }
    if (input == NONE)
        return;
    if (eoi)
        chip->isr &= (uint8_t) ~(1u << input);
    if (rotate)
        chip->lowest = (uint8_t)input;
}

static void write_ocw3(struct chip *chip, uint8_t value)
{
    if ((value & OCW3_SET_SPECIAL_MASK) != 0)
        chip->special_mask = (value & OCW3_SPECIAL_MASK) != 0;
    chip->poll = (value & OCW3_POLL) != 0;
    if ((value & OCW3_READ) != 0)
        chip->read_isr = (value & OCW3_READ_ISR) != 0;
}

static void write_data(struct chip *chip, uint8_t value)
{
    switch ((enum pic_expects)chip->expects) {
    case EXPECTS_MASK:
        chip->imr = value;
        break;
    case EXPECTS_ICW2:
        chip->base = value & 0xf8;
        if ((chip->icw1 & ICW1_SINGLE) == 0)
            chip->expects = EXPECTS_ICW3;
        else
            chip->expects = (chip->icw1 & ICW1_IC4) != 0 ? EXPECTS_ICW4 : EXPECTS_MASK;
        break;
    case EXPECTS_ICW3: /* the cascade is wired to input 2, whatever the guest thinks */
        chip->expects = (chip->icw1 & ICW1_IC4) != 0 ? EXPECTS_ICW4 : EXPECTS_MASK;
        break;
    case EXPECTS_ICW4:
        chip->icw4 = value & 0x1f;
        chip->expects = EXPECTS_MASK;
        break;
    }
}

static void write_chip(struct pic *pic, unsigned number, unsigned offset, uint8_t value)
{
    struct chip *chip = &pic->chip[number];
    if (offset == 1)
        write_data(chip, value);
    else if ((value & ICW1) != 0)
        initialize(chip, value);
    else if ((value & OCW3) != 0)
        write_ocw3(chip, value);
    else
        write_ocw2(chip, value);
    update(pic);
}

static uint8_t poll_chip(struct pic *pic, unsigned number)
{
    struct chip *chip = &pic->chip[number];
    unsigned input = pending(chip, number == 0);
    chip->poll = false;
    if (input == NONE)
        return 0;
    take(chip, input);
    update(pic);
    return (uint8_t)(0x80 | input);
}

static uint8_t read_chip(struct pic *pic, unsigned number, unsigned offset)
{
    struct chip *chip = &pic->chip[number];
    if (chip->poll)
        return poll_chip(pic, number);
    if (offset == 1)
        return chip->imr;
    return chip->read_isr ? chip->isr : chip->irr;
}

static uint8_t read_master(void *device, unsigned offset)
{
    return read_chip(device, 0, offset);
}

static uint8_t read_slave(void *device, unsigned offset)
{
    return read_chip(device, 1, offset);
}

static void write_master(void *device, unsigned offset, uint8_t value)
{
    write_chip(device, 0, offset, value);
}

static void write_slave(void *device, unsigned offset, uint8_t value)
{
    write_chip(device, 1, offset, value);
}

static uint8_t read_elcr(void *device, unsigned offset)
{
    const struct pic *pic = device;
    return pic->chip[offset].elcr;
}

static void write_elcr(void *device, unsigned offset, uint8_t value)
{
    struct pic *pic = device;
    struct chip *chip = &pic->chip[offset];
    chip->elcr = value & elcr_mask[offset];
    chip->irr |= chip->lines & chip->elcr;
    update(pic);
}

static uint64_t master_read(void *device, uint64_t offset, unsigned size)
{
    return read_bytewise(device, offset, size, read_master);
}

static void master_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    write_bytewise(device, offset, size, value, write_master);
}

static uint64_t slave_read(void *device, uint64_t offset, unsigned size)
{
    return read_bytewise(device, offset, size, read_slave);
}

static void slave_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    write_bytewise(device, offset, size, value, write_slave);
}

static uint64_t elcr_read(void *device, uint64_t offset, unsigned size)
{
    return read_bytewise(device, offset, size, read_elcr);
}

static void elcr_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    write_bytewise(device, offset, size, value, write_elcr);
}

int pic_attach(struct pic *pic, struct bus *bus)
{
    static const struct bus_ops master = {master_read, master_write};
    static const struct bus_ops slave = {slave_read, slave_write};
    static const struct bus_ops elcr = {elcr_read, elcr_write};
    int error = bus_attach_ports(bus, 0x20, 2, &master, pic);
    if (error == 0)
        error = bus_attach_ports(bus, 0xa0, 2, &slave, pic);
    if (error == 0)
        error = bus_attach_ports(bus, 0x4d0, 2, &elcr, pic);
    return error;
}

void pic_reset(struct pic *pic)
{
    for (unsigned i = 0; i < 2; i++)
        pic->chip[i] = (struct chip){.lowest = 7};
    update(pic);
}

int pic_create(const struct chipset_host *host, struct pic **ret)
{
    struct pic *pic = calloc(1, sizeof(*pic));
    if (pic == NULL)
        return -ENOMEM;
    pic->host = host;
    pic_reset(pic);
    *ret = pic;
    return 0;
}

void pic_destroy(struct pic *pic)
{
    free(pic);
}

static void visit_chip(struct state_visitor *v, unsigned number, struct chip *chip)
{
    state_begin(v, number == 0 ? "pic-master" : "pic-slave", 1);
    state_u8(v, "lines", &chip->lines);
    state_u8(v, "irr", &chip->irr);
    state_u8(v, "isr", &chip->isr);
    state_u8(v, "imr", &chip->imr);
    state_u8(v, "elcr", &chip->elcr);
    state_u8(v, "base", &chip->base);
    state_u8(v, "lowest", &chip->lowest);
    state_u8(v, "icw1", &chip->icw1);
    state_u8(v, "icw4", &chip->icw4);
    state_u8(v, "expects", &chip->expects);
    state_bool(v, "special-mask", &chip->special_mask);
    state_bool(v, "read-isr", &chip->read_isr);
    state_bool(v, "poll", &chip->poll);
    state_bool(v, "rotate-on-auto-eoi", &chip->rotate_on_auto_eoi);
    if (chip->lowest > 7 || chip->expects > EXPECTS_ICW4 || (chip->base & 7) != 0 ||
        (chip->elcr & ~elcr_mask[number]) != 0 || (chip->irr & ~chip->lines) != 0)
        state_fail(v, -EINVAL);
}

int pic_visit_state(struct pic *pic, struct state_visitor *v)
{
    struct chip chip[2] = {pic->chip[0], pic->chip[1]};
    for (unsigned i = 0; i < 2; i++) {
        visit_chip(v, i, &chip[i]);
        int error = state_end(v);
        if (error != 0)
            return error;
    }
    pic->chip[0] = chip[0];
    pic->chip[1] = chip[1];
    update(pic);
    return 0;
}
