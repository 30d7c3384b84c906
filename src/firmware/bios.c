/*
 * What a BIOS leaves in low memory: its data area, and interrupt vectors. There is no BIOS behind
 * them: each vector leads to code that returns, having dismissed what the 8259 pair asks.
 */
#include "firmware/bios.h"

#include <stddef.h>

#include "base/bytes.h"
#include "firmware/area.h"

/* Fields of the BIOS data area that kernels read without asking any firmware. */
enum {
    BDA_COM1 = 0x400,
    BDA_EBDA_SEGMENT = 0x40e,
    BDA_LOW_KIB = 0x413,
    COM1_PORT = 0x3f8,
};

enum {
    VECTOR_COUNT = 256,
    VECTOR_SIZE = 4,       /* offset, segment */
    MASTER_VECTORS = 0x08, /* of 8 inputs, as chipset_set_up_as_bios() has them */
    SLAVE_VECTORS = 0x70,
    RETURN_AT = 0, /* in `code` */
    MASTER_AT = 1,
    SLAVE_AT = 8,
};

static const uint8_t code[] = {
    0xcf, /* iret */
    /* push ax; mov al, 0x20 (end of interrupt); out 0x20, al; pop ax; iret */
    0x50,
    0xb0,
    0x20,
    0xe6,
    0x20,
    0x58,
    0xcf,
    /* the same with out 0xa0, al before */
    0x50,
    0xb0,
    0x20,
    0xe6,
    0xa0,
    0xe6,
    0x20,
    0x58,
    0xcf,
};

static unsigned handler_of(unsigned vector)
{
    if ((vector & ~7u) == MASTER_VECTORS)
        return MASTER_AT;
    return (vector & ~7u) == SLAVE_VECTORS ? SLAVE_AT : RETURN_AT;
}

static int write_vectors(struct mem *mem)
{
    uint8_t vectors[VECTOR_COUNT * VECTOR_SIZE];

    for (unsigned i = 0; i < VECTOR_COUNT; i++) {
        uint64_t offset = AREA_BIOS_CODE - AREA_SMBIOS + handler_of(i);
        put_le16(vectors + (size_t)i * VECTOR_SIZE, (uint16_t)offset);
        put_le16(vectors + (size_t)i * VECTOR_SIZE + 2, (uint16_t)(AREA_SMBIOS >> 4));
    }
    int r = mem_write(mem, 0, vectors, sizeof(vectors));
    return r < 0 ? r : mem_write(mem, AREA_BIOS_CODE, code, sizeof(code));
}

static int write_data(struct mem *mem)
{
    uint8_t com1[2];
    uint8_t segment[2];
    uint8_t low_kib[2];
    put_le16(com1, COM1_PORT);
    put_le16(segment, (uint16_t)(AREA_LOW_TOP >> 4));
    put_le16(low_kib, (uint16_t)(AREA_LOW_TOP >> 10));
    int r = mem_write(mem, BDA_COM1, com1, sizeof(com1));
    if (r == 0)
        r = mem_write(mem, BDA_EBDA_SEGMENT, segment, sizeof(segment));
    if (r == 0)
        r = mem_write(mem, BDA_LOW_KIB, low_kib, sizeof(low_kib));
    /* The EBDA begins with its own size in KiB. */
    if (r == 0)
        r = mem_fill(mem, AREA_LOW_TOP, 1, 1);
    return r;
}

int bios_write(struct mem *mem)
{
    int r = write_vectors(mem);
    return r < 0 ? r : write_data(mem);
}
