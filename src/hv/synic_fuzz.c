/*
 * Invariant: whatever MSRs a guest writes and whatever it does to its pages meanwhile, interrupts
 * carry vectors that a SINT or a timer holds, reading gives back what may be read, and taking all
 * overlays away leaves no page placed.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "hv/hv_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VPS = 2, RAM = 0x100000, STEP = 12 };

static void interrupt(void *owner, unsigned vp, uint8_t vector, bool auto_eoi)
{
    (void)owner;
    (void)vector;
    (void)auto_eoi;
    if (vp >= VPS)
        abort();
}

static void set_timer(void *owner, unsigned vp, uint64_t deadline_ns)
{
    (void)owner;
    (void)vp;
    (void)deadline_ns;
}

static bool apic(void *owner, unsigned vp, enum engine_apic_register which, bool write,
                 uint64_t *value)
{
    (void)owner;
    (void)vp;
    (void)which;
    if (!write)
        *value = 0;
    return true;
}

static void crash(void *owner, unsigned vp, const struct hv_crash *told)
{
    (void)owner;
    (void)vp;
    if (told->text_length > sizeof(told->text))
        abort();
}

static void reset(void *owner)
{
    (void)owner;
}

static struct hv *hv;
static struct mem *mem;

static void set_up(void)
{
    struct hv_config config = {
        .host = {.interrupt = interrupt,
                 .set_timer = set_timer,
                 .apic = apic,
                 .crash = crash,
                 .reset = reset},
        .vp_count = VPS,
        .tsc_hz = 1000000000,
        .privileges = UINT64_MAX,
    };
    if (mem_create(RAM, RAM, &mem) < 0)
        abort();
    config.mem = mem;
    if (hv_create(&config, &hv, NULL) < 0)
        abort();
}

/* An action: what, processor, MSR or flag, value. */
static void act(const uint8_t *step)
{
    unsigned vp = step[1] % VPS;
    uint32_t index = HV_MSR_FIRST + (get_le16(step + 2) & 0x1ff);
    uint64_t value = get_le64(step + 4);
    struct hv_message message = {.type = (uint32_t)value | 1, .length = step[2]};
    bool halt;

    switch (step[0] % 6) {
    case 0:
    case 1:
        (void)hv_write_msr(hv, vp, index, value);
        break;
    case 2:
        (void)hv_read_msr(hv, vp, index, &value, &halt);
        break;
    case 3:
        (void)hv_post_message(hv, vp, step[3] % HV_SINT_COUNT, &message);
        break;
    case 4:
        (void)hv_signal_event(hv, vp, step[3] % HV_SINT_COUNT, step[2]);
        hv_timer_expired(hv, vp);
        break;
    default:
        (void)mem_fill(mem, get_le16(step + 2) & (RAM - 1), step[4], 1);
        break;
    }
}

static void take_overlays_away(void)
{
    static const uint32_t pages[] = {HV_MSR_SIMP, HV_MSR_SIEFP, HV_MSR_VP_ASSIST_PAGE};
    for (unsigned vp = 0; vp < VPS; vp++) {
        for (size_t i = 0; i < 3; i++) {
            if (!hv_write_msr(hv, vp, pages[i], 0))
                abort();
        }
        const struct hv_vp *state = &hv->vps[vp];
        if (state->message_page.placed || state->event_page.placed || state->assist_page.placed ||
            state->queued > HV_QUEUE_LENGTH)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (hv == NULL)
        set_up();
    hv_reset(hv, 0);
    for (; size >= STEP; size -= STEP, data += STEP)
        act(data);
    take_overlays_away();
    return 0;
}
