/*
 * Overlay pages: TLFS, "GPA Overlay Pages". The overlay's bytes lie in the guest's RAM and what was
 * there lies here, so that every engine sees the overlay without being told of it.
 */
#include <errno.h>
#include <string.h>

#include "hv/hv_private.h"
#include "state/state.h"

/* Give the guest's page back; `ret` gets what the overlay held. */
static int lift(struct hv *hv, struct hv_overlay *overlay, uint8_t *ret)
{
    int error = mem_read(hv->mem, overlay->gpa, ret, MEM_PAGE_SIZE);
    if (error == 0)
        error = mem_write(hv->mem, overlay->gpa, overlay->under, MEM_PAGE_SIZE);
    overlay->placed = false;
    return error;
}

static int lay(struct hv *hv, struct hv_overlay *overlay, uint64_t gpa, const uint8_t *bytes)
{
    int error = mem_read(hv->mem, gpa, overlay->under, MEM_PAGE_SIZE);
    if (error == 0)
        error = mem_write(hv->mem, gpa, bytes, MEM_PAGE_SIZE);
    overlay->placed = error == 0;
    overlay->gpa = gpa;
    return error;
}

int overlay_place(struct hv *hv, struct hv_overlay *overlay, uint64_t msr, const uint8_t *initial)
{
    uint8_t bytes[MEM_PAGE_SIZE] = {0};
    uint64_t gpa = msr & HV_PAGE_ADDRESS;
    bool wanted = (msr & HV_PAGE_ENABLED) != 0;

    if (wanted && !mem_is_ram(hv->mem, gpa, MEM_PAGE_SIZE))
        return -EFAULT;
    if (overlay->placed && wanted && overlay->gpa == gpa)
        return 0;
    if (initial != NULL)
        memcpy(bytes, initial, sizeof(bytes));
    int error = overlay->placed ? lift(hv, overlay, bytes) : 0;
    return error == 0 && wanted ? lay(hv, overlay, gpa, bytes) : error;
}

int overlay_visit(struct hv_overlay *overlay, const char *section, struct state_visitor *visitor)
{
    state_begin(visitor, section, 1);
    state_bool(visitor, "placed", &overlay->placed);
    state_u64(visitor, "gpa", &overlay->gpa);
    state_bytes(visitor, "under", overlay->under, sizeof(overlay->under));
    return state_end(visitor);
}
