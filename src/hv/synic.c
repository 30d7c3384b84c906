/*
 * The synthetic interrupt controller: TLFS, "Inter-Partition Communication" and "Virtual Interrupt
 * Control".
 *
 * 1. A message waits in the VP's queue until its slot in the guest's page is free; the order within
 *    a SINT is kept. The guest frees a slot by clearing its type, and tells so (EOM) only if it saw
 *    "message pending": so after setting that bit the slot is looked at once more, and every later
 *    event tries again.
 * 2. The pages are the guest's RAM: each word of it is read once, and bits of event flags are set
 *    atomically.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "hv/hv_private.h"
#include "state/state.h"

enum {
    SINT_VECTOR = 0xff,
    SINT_MASKED = 1 << 16,
    SINT_AUTO_EOI = 1 << 17,
    SINT_POLLING = 1 << 18,
    SINT_AT_RESET = SINT_MASKED,
    LEAST_VECTOR = 16,
    CONTROL_ENABLED = 1,
    /* A slot of the message page. */
    SLOT_SIZE = 256,
    SLOT_TYPE = 0,
    SLOT_LENGTH = 4,
    SLOT_FLAGS = 5,
    SLOT_ORIGIN = 8,
    SLOT_PAYLOAD = 16,
    FLAG_PENDING = 1,
    EVENT_BYTES = HV_EVENT_FLAGS / 8,
};

static void raise_sint(const struct hv_vp *vp, unsigned sint)
{
    uint64_t value = vp->sint[sint];

    if ((value & (SINT_MASKED | SINT_POLLING)) == 0)
        vp->hv->host.interrupt(vp->hv->host.owner, vp->index, value & SINT_VECTOR,
                               (value & SINT_AUTO_EOI) != 0);
}

/* Part of a page that an MSR placed, or NULL. */
static uint8_t *pin(const struct hv_vp *vp, uint64_t msr, uint64_t offset, uint64_t length)
{
    if ((vp->scontrol & CONTROL_ENABLED) == 0 || (msr & HV_PAGE_ENABLED) == 0)
        return NULL;
    return mem_pin(vp->hv->mem, (msr & HV_PAGE_ADDRESS) + offset, length);
}

static void fill_slot(struct hv_vp *vp, unsigned sint, uint8_t *slot,
                      const struct hv_message *message)
{
    slot[SLOT_LENGTH] = message->length;
    slot[SLOT_FLAGS] = 0;
    put_le64(slot + SLOT_ORIGIN, 0);
    memcpy(slot + SLOT_PAYLOAD, message->payload, message->length);
    /* The type is what says that the rest is there. */
    __atomic_store_n((uint32_t *)(void *)slot, message->type, __ATOMIC_RELEASE);
    mem_written(vp->hv->mem, (vp->simp & HV_PAGE_ADDRESS) + sint * SLOT_SIZE, SLOT_SIZE);
}

bool synic_deliver(struct hv_vp *vp, unsigned sint, const struct hv_message *message)
{
    uint8_t *slot = pin(vp, vp->simp, (uint64_t)sint * SLOT_SIZE, SLOT_SIZE);

    if (slot == NULL)
        return false;
    if (__atomic_load_n((uint32_t *)(void *)slot, __ATOMIC_ACQUIRE) != 0) {
        (void)__atomic_fetch_or(slot + SLOT_FLAGS, FLAG_PENDING, __ATOMIC_SEQ_CST);
        if (__atomic_load_n((uint32_t *)(void *)slot, __ATOMIC_SEQ_CST) != 0)
            return false;
    }
    fill_slot(vp, sint, slot, message);
    raise_sint(vp, sint);
    return true;
}

/* Every queued message whose slot is free; a SINT that refused one keeps its later ones too. */
static void drain(struct hv_vp *vp)
{
    bool refused[HV_SINT_COUNT] = {false};
    unsigned kept = 0;

    for (unsigned i = 0; i < vp->queued; i++) {
        const struct hv_queued *entry = &vp->queue[i];
        if (!refused[entry->sint] && synic_deliver(vp, entry->sint, &entry->message))
            continue;
        refused[entry->sint] = true;
        if (kept != i)
            vp->queue[kept] = *entry;
        kept++;
    }
    vp->queued = kept;
    stimer_retry(vp);
}

static bool is_queued(const struct hv_vp *vp, unsigned sint)
{
    for (unsigned i = 0; i < vp->queued; i++) {
        if (vp->queue[i].sint == sint)
            return true;
    }
    return false;
}

static int post(struct hv_vp *vp, unsigned sint, const struct hv_message *message)
{
    drain(vp);
    if (!is_queued(vp, sint) && synic_deliver(vp, sint, message))
        return 0;
    if (vp->queued == HV_QUEUE_LENGTH)
        return -ENOBUFS;
    vp->queue[vp->queued++] = (struct hv_queued){sint, *message};
    return 0;
}

int hv_post_message(struct hv *hv, unsigned vp, unsigned sint, const struct hv_message *message)
{
    if (vp >= hv->vp_count || sint >= HV_SINT_COUNT || message->type == 0 ||
        message->length > HV_MESSAGE_PAYLOAD)
        return -EINVAL;
    (void)pthread_mutex_lock(&hv->vps[vp].lock);
    int error = post(&hv->vps[vp], sint, message);
    (void)pthread_mutex_unlock(&hv->vps[vp].lock);
    return error;
}

static int signal_flag(struct hv_vp *vp, unsigned sint, unsigned flag)
{
    uint64_t offset = (uint64_t)sint * EVENT_BYTES + flag / 8;
    uint8_t *byte = pin(vp, vp->siefp, offset, 1);

    if (byte == NULL || (vp->sint[sint] & SINT_MASKED) != 0)
        return -EAGAIN;
    uint8_t bit = (uint8_t)(1u << flag % 8);
    uint8_t before = __atomic_fetch_or(byte, bit, __ATOMIC_SEQ_CST);
    mem_written(vp->hv->mem, (vp->siefp & HV_PAGE_ADDRESS) + offset, 1);
    if ((before & bit) == 0)
        raise_sint(vp, sint);
    return 0;
}

int hv_signal_event(struct hv *hv, unsigned vp, unsigned sint, unsigned flag)
{
    if (vp >= hv->vp_count || sint >= HV_SINT_COUNT || flag >= HV_EVENT_FLAGS)
        return -EINVAL;
    (void)pthread_mutex_lock(&hv->vps[vp].lock);
    int error = signal_flag(&hv->vps[vp], sint, flag);
    (void)pthread_mutex_unlock(&hv->vps[vp].lock);
    return error;
}

void hv_raise_sint(struct hv *hv, unsigned vp, unsigned sint)
{
    if (vp >= hv->vp_count || sint >= HV_SINT_COUNT)
        return;
    (void)pthread_mutex_lock(&hv->vps[vp].lock);
    raise_sint(&hv->vps[vp], sint);
    (void)pthread_mutex_unlock(&hv->vps[vp].lock);
}

/* ---- registers ---- */

bool synic_write_control(struct hv_vp *vp, uint64_t value)
{
    (void)pthread_mutex_lock(&vp->lock);
    vp->scontrol = value;
    drain(vp);
    (void)pthread_mutex_unlock(&vp->lock);
    return true;
}

bool synic_write_siefp(struct hv_vp *vp, uint64_t value)
{
    (void)pthread_mutex_lock(&vp->lock);
    bool done = overlay_place(vp->hv, &vp->event_page, value, NULL) == 0;
    if (done)
        vp->siefp = value;
    (void)pthread_mutex_unlock(&vp->lock);
    return done;
}

bool synic_write_simp(struct hv_vp *vp, uint64_t value)
{
    (void)pthread_mutex_lock(&vp->lock);
    bool done = overlay_place(vp->hv, &vp->message_page, value, NULL) == 0;
    if (done) {
        vp->simp = value;
        drain(vp);
    }
    (void)pthread_mutex_unlock(&vp->lock);
    return done;
}

/* A vector below 16 is one of the processor's own: only a masked SINT may hold it. */
bool synic_write_sint(struct hv_vp *vp, unsigned sint, uint64_t value)
{
    if ((value & SINT_VECTOR) < LEAST_VECTOR && (value & (SINT_MASKED | SINT_POLLING)) == 0)
        return false;
    (void)pthread_mutex_lock(&vp->lock);
    vp->sint[sint] = value;
    drain(vp);
    (void)pthread_mutex_unlock(&vp->lock);
    return true;
}

void synic_end_of_message(struct hv_vp *vp)
{
    (void)pthread_mutex_lock(&vp->lock);
    drain(vp);
    (void)pthread_mutex_unlock(&vp->lock);
}

void synic_reset(struct hv_vp *vp)
{
    vp->scontrol = 0;
    vp->siefp = 0;
    vp->simp = 0;
    vp->message_page.placed = false;
    vp->event_page.placed = false;
    vp->queued = 0;
    for (unsigned i = 0; i < HV_SINT_COUNT; i++)
        vp->sint[i] = SINT_AT_RESET;
}

/* ---- saved state ---- */

/* A queued message in saved state: SINT, length, type, payload. */
enum { SAVED_TYPE = 4, SAVED_PAYLOAD = 8, SAVED_SIZE = SAVED_PAYLOAD + HV_MESSAGE_PAYLOAD };

static void encode(const struct hv_queued *entry, uint8_t *bytes)
{
    bytes[0] = (uint8_t)entry->sint;
    bytes[1] = entry->message.length;
    put_le32(bytes + SAVED_TYPE, entry->message.type);
    memcpy(bytes + SAVED_PAYLOAD, entry->message.payload, HV_MESSAGE_PAYLOAD);
}

static bool decode(const uint8_t *bytes, struct hv_queued *ret)
{
    ret->sint = bytes[0];
    ret->message.length = bytes[1];
    ret->message.type = get_le32(bytes + SAVED_TYPE);
    memcpy(ret->message.payload, bytes + SAVED_PAYLOAD, HV_MESSAGE_PAYLOAD);
    return ret->sint < HV_SINT_COUNT && ret->message.length <= HV_MESSAGE_PAYLOAD &&
           ret->message.type != 0;
}

static void visit_queue(struct hv_vp *vp, struct state_visitor *visitor)
{
    uint8_t bytes[HV_QUEUE_LENGTH * SAVED_SIZE] = {0};
    uint32_t queued = vp->queued;

    for (unsigned i = 0; i < vp->queued; i++)
        encode(&vp->queue[i], bytes + (size_t)i * SAVED_SIZE);
    state_u32(visitor, "queued", &queued);
    state_bytes(visitor, "messages", bytes, sizeof(bytes));
    if (!state_is_load(visitor))
        return;
    bool valid = queued <= HV_QUEUE_LENGTH;
    for (unsigned i = 0; valid && i < queued; i++)
        valid = decode(bytes + (size_t)i * SAVED_SIZE, &vp->queue[i]);
    vp->queued = valid ? queued : 0;
    if (!valid)
        state_fail(visitor, -EINVAL);
}

void synic_visit(struct hv_vp *vp, struct state_visitor *visitor)
{
    state_u64(visitor, "scontrol", &vp->scontrol);
    state_u64(visitor, "siefp", &vp->siefp);
    state_u64(visitor, "simp", &vp->simp);
    state_bytes(visitor, "sints", vp->sint, sizeof(vp->sint));
    visit_queue(vp, visitor);
}
