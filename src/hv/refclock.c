/*
 * Reference time: TLFS, "Reference Counter" and "Partition Reference TSC Mechanism". The MSR and
 * the page compute the same function of the same TSC, so no guest sees time run back between them.
 */
#include "base/bytes.h"
#include "hv/hv_private.h"

__extension__ typedef unsigned __int128 wide;

enum { UNITS_PER_SECOND = 10000000 };
/* The page's fields, and its sequence number: 0 means "read the MSR". */
enum { PAGE_SEQUENCE = 0, PAGE_SCALE = 8, PAGE_OFFSET = 16, SEQUENCE = 1 };

uint64_t refclock_scale(uint64_t tsc_hz)
{
    return (uint64_t)(((wide)UNITS_PER_SECOND << 64) / tsc_hz);
}

uint64_t refclock_at(const struct hv *hv, uint64_t host_tsc)
{
    uint64_t tsc = host_tsc + (uint64_t)hv->tsc_offset;
    return (uint64_t)((wide)tsc * hv->scale >> 64) + (uint64_t)hv->time_offset;
}

uint64_t hv_reference_time(const struct hv *hv)
{
    /* RDTSC may run ahead of earlier loads, by which another thread's time was seen. */
    __builtin_ia32_lfence();
    return refclock_at(hv, engine_host_tsc());
}

void refclock_fill_page(const struct hv *hv, uint8_t page[MEM_PAGE_SIZE])
{
    put_le32(page + PAGE_SEQUENCE, SEQUENCE);
    put_le64(page + PAGE_SCALE, hv->scale);
    put_le64(page + PAGE_OFFSET, (uint64_t)hv->time_offset);
}
