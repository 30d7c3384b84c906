#include "chipset/gsi.h"

#include <errno.h>

enum { GSI_TIMER = 0, GSI_CASCADE = 2, TIMER_PIN = 2, PIC_INPUTS = 16 };

void gsi_set(struct gsi_router *router, enum gsi_source source, unsigned gsi, bool level)
{
    if (gsi >= CHIPSET_GSI_COUNT || gsi == GSI_CASCADE)
        return;
    uint32_t bit = UINT32_C(1) << gsi;
    router->asserted[source] &= ~bit;
    if (level)
        router->asserted[source] |= bit;

    uint32_t all = 0;
    for (unsigned i = 0; i < GSI_SOURCE_COUNT; i++)
        all |= router->asserted[i];
    bool asserted = (all & bit) != 0;
    if (gsi < PIC_INPUTS)
        pic_set_irq(router->pic, gsi, asserted);
    ioapic_set_pin(router->ioapic, gsi == GSI_TIMER ? TIMER_PIN : gsi, asserted);
}

void gsi_set_from_device(void *owner, unsigned pin, bool level)
{
    gsi_set(owner, GSI_FROM_DEVICE, pin, level);
}

void gsi_set_from_test(void *owner, unsigned pin, bool level)
{
    gsi_set(owner, GSI_FROM_TEST, pin, level);
}

void gsi_reset(struct gsi_router *router)
{
    for (unsigned i = 0; i < GSI_SOURCE_COUNT; i++)
        router->asserted[i] = 0;
}

int gsi_visit_state(struct gsi_router *router, struct state_visitor *v)
{
    struct gsi_router loaded = *router;
    state_begin(v, "gsi", 1);
    state_u32(v, "device", &loaded.asserted[GSI_FROM_DEVICE]);
    state_u32(v, "machine", &loaded.asserted[GSI_FROM_MACHINE]);
    state_u32(v, "test", &loaded.asserted[GSI_FROM_TEST]);
    for (unsigned i = 0; i < GSI_SOURCE_COUNT; i++) {
        if (loaded.asserted[i] >> CHIPSET_GSI_COUNT != 0)
            state_fail(v, -EINVAL);
    }
    int error = state_end(v);
    if (error == 0)
        *router = loaded;
    return error;
}
