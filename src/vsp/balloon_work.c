/*
 * What is asked of the guest, on the way to a target: pages for its balloon, to take pages back, to
 * add memory.
 *
 * 1. One request is under way at most. There is no time limit: pages that come late were given, and
 *    would be lost to the guest if they were not counted.
 * 2. No more pages are taken than were asked for, so what a guest says costs no more than that.
 * 3. Pages are asked for only when a report is newer than the last change: what the guest can spare
 *    is what it last said.
 */
#include "base/bytes.h"
#include "base/clock.h"
#include "vsp/balloon_private.h"

enum {
    PAGES_PER_MIB = 256,
    MOST_TAKEN = 256 * PAGES_PER_MIB,  /* a request; the next comes with the next report */
    MOST_GIVEN = 128 * PAGES_PER_MIB,  /* Linux frees them in one go */
    LEAST_TAKEN = PAGES_PER_MIB,       /* less is not worth a request */
    LEAST_BEYOND = 16 * PAGES_PER_MIB, /* nor this, when what it keeps is a guess */
    STEP = (int)(MEM_GROWTH / MEM_PAGE_SIZE),
    MOST_FAILURES = 5,
};

#define SHORT_PAUSE_NS (UINT64_C(10) * NS_PER_SECOND) /* the guest gave less than asked */
/* How long what it keeps is believed: twice as long each time, as it may have been a moment's. */
#define LEAST_KEPT_NS (UINT64_C(30) * NS_PER_SECOND)
#define MOST_KEPT_NS  (UINT64_C(3600) * NS_PER_SECOND)
#define ADD_PAUSE_NS  (UINT64_C(30) * NS_PER_SECOND) /* it could not add memory */

static void work_is_done(struct balloon *balloon)
{
    balloon->work = BALLOON_WORK_NONE;
    balloon->wanted = 0;
    balloon->fresh = false;
}

/* ---- pages for the balloon ---- */

/*
 * A guest that gave less than asked keeps what is free then: Linux has a floor, and complains of
 * those who want to go below.
 */
void balloon_note_report(struct balloon *balloon)
{
    balloon->fresh = true;
    if (balloon->short_of) {
        balloon->short_of = false;
        balloon->kept = balloon->available;
        balloon->kept_until_ns = balloon->host.now() + balloon->kept_ns;
    }
    if (balloon->host.now() >= balloon->kept_until_ns)
        balloon->kept = 0;
}

/* Not more than half of what is free: the rest is for what happens meanwhile. */
static uint64_t count_spare(const struct balloon *balloon)
{
    uint64_t beyond = balloon->available > balloon->kept ? balloon->available - balloon->kept : 0;

    return beyond < balloon->available / 2 ? beyond : balloon->available / 2;
}

static void ask_for_pages(struct balloon *balloon, uint64_t excess)
{
    if (!balloon->can_balloon || !balloon->fresh || balloon->host.now() < balloon->take_after_ns)
        return;
    uint64_t count = count_spare(balloon);
    count = count < excess ? count : excess;
    count = count < MOST_TAKEN ? count : MOST_TAKEN;
    if (count < (balloon->kept > 0 ? LEAST_BEYOND : LEAST_TAKEN))
        return;
    balloon->work = BALLOON_WORK_TAKE;
    balloon->wanted = count;
    balloon_begin_message(balloon, DM_BALLOON_REQUEST, DM_BALLOON_LENGTH);
    put_le32(balloon->output + DM_BALLOON_PAGES, (uint32_t)count);
    balloon_send_message(balloon);
}

/* False: no pages of the guest's, or more than were asked for. */
static bool take_range(struct balloon *balloon, uint64_t first, uint64_t count)
{
    uint64_t gpa = first * MEM_PAGE_SIZE;
    const struct mem_range device = mem_device(balloon->mem);

    if (count > balloon->wanted || !mem_is_ram(balloon->mem, gpa, count * MEM_PAGE_SIZE) ||
        (gpa >= device.gpa && gpa - device.gpa < device.size))
        return false;
    balloon->wanted -= count;
    (void)balloon_pages_add(&balloon->pages, first, count);
    /* A host that cannot take them now leaves them where they are: they are the balloon's still. */
    (void)mem_discard(balloon->mem, gpa, count * MEM_PAGE_SIZE);
    return true;
}

/* Neighbours are taken together: a guest that is short of memory gives single pages. */
static bool take_ranges(struct balloon *balloon, const uint8_t *at, uint64_t ranges)
{
    uint64_t first = 0;
    uint64_t count = 0;
    bool sane = true;

    for (uint64_t i = 0; i < ranges; i++) {
        uint64_t range = get_le64(at + i * 8);
        uint64_t next = range & DM_RANGE_FIRST;
        if (next != first + count && count > 0)
            sane &= take_range(balloon, first, count);
        if (next != first + count || count == 0) {
            first = next;
            count = 0;
        }
        count += range >> DM_RANGE_SHIFT;
    }
    return (count == 0 || take_range(balloon, first, count)) && sane;
}

static void note_end_of_taking(struct balloon *balloon)
{
    if (balloon->wanted == 0) {
        balloon->kept_ns = 0;
        return;
    }
    balloon->take_after_ns = balloon->host.now() + SHORT_PAUSE_NS;
    balloon->short_of = true;
    balloon->kept_ns = balloon->kept_ns == 0 ? LEAST_KEPT_NS : balloon->kept_ns * 2;
    if (balloon->kept_ns > MOST_KEPT_NS)
        balloon->kept_ns = MOST_KEPT_NS;
}

bool balloon_take_pages(struct balloon *balloon, const uint8_t *payload, size_t length)
{
    uint32_t word = get_le32(payload + DM_BALLOON_COUNT);
    uint64_t ranges = word >> 1;

    if (balloon->work != BALLOON_WORK_TAKE || ranges > (length - DM_RANGES) / 8)
        return false;
    bool sane = take_ranges(balloon, payload + DM_RANGES, ranges);
    if ((word & 1) != 0)
        return sane;
    note_end_of_taking(balloon);
    work_is_done(balloon);
    return sane;
}

/* ---- pages back ---- */

static void give_pages(struct balloon *balloon, uint64_t lack)
{
    uint64_t left = lack < MOST_GIVEN ? lack : MOST_GIVEN;
    unsigned ranges = 0;

    balloon->work = BALLOON_WORK_GIVE;
    balloon_begin_message(balloon, DM_UNBALLOON_REQUEST, DM_RANGES);
    while (ranges < DM_MOST_RANGES) {
        uint64_t first = 0;
        uint64_t count = balloon_pages_take(&balloon->pages, left, &first);
        if (count == 0)
            break;
        left -= count;
        put_le64(balloon->output + DM_RANGES + (size_t)ranges * 8, count << DM_RANGE_SHIFT | first);
        ranges++;
    }
    put_le16(balloon->output + DM_SIZE, (uint16_t)(DM_RANGES + ranges * 8));
    put_le32(balloon->output + DM_UNBALLOON_COUNT, ranges);
    balloon_send_message(balloon);
}

bool balloon_pages_taken_back(struct balloon *balloon, const uint8_t *payload, size_t length)
{
    (void)payload;
    (void)length;
    if (balloon->work != BALLOON_WORK_GIVE)
        return false;
    work_is_done(balloon);
    return true;
}

/* ---- more memory ---- */

static void add_has_failed(struct balloon *balloon)
{
    balloon->add_failures++;
    balloon->add_refused |= balloon->add_failures == MOST_FAILURES;
    balloon->add_after_ns = balloon->host.now() + ADD_PAUSE_NS;
}

/* In steps: a lack that is small against one is borne. */
static void add_memory(struct balloon *balloon, uint64_t lack)
{
    const struct mem_range growth = mem_growth(balloon->mem);
    uint64_t done = balloon->added * MEM_PAGE_SIZE;

    if (!balloon->can_add || balloon->add_refused || lack < STEP / 4 ||
        growth.size - done < MEM_GROWTH || balloon->host.now() < balloon->add_after_ns)
        return;
    if (mem_grow(balloon->mem, done + MEM_GROWTH) < 0) {
        add_has_failed(balloon);
        return;
    }
    balloon->work = BALLOON_WORK_ADD;
    balloon->wanted = STEP;
    balloon_begin_message(balloon, DM_HOT_ADD_REQUEST, DM_HOT_ADD_LENGTH);
    put_le64(balloon->output + DM_HOT_ADD_RANGE,
             (uint64_t)STEP << DM_RANGE_SHIFT | (growth.gpa + done) / MEM_PAGE_SIZE);
    balloon_send_message(balloon);
}

/*
 * Linux hv_balloon.c, "Hot add response message": fewer pages than asked for, or none with success,
 * mean that no more can be added; none without success, that it may be tried again.
 */
bool balloon_memory_added(struct balloon *balloon, const uint8_t *payload, size_t length)
{
    uint64_t count = get_le32(payload + DM_ADDED_PAGES);
    bool success = get_le32(payload + DM_ADD_RESULT) != 0;

    (void)length;
    if (balloon->work != BALLOON_WORK_ADD)
        return false;
    bool sane = count <= balloon->wanted;
    if (sane && success) {
        balloon->added += count;
        balloon->add_refused |= count < balloon->wanted;
        balloon->add_failures = 0;
    } else {
        add_has_failed(balloon);
    }
    work_is_done(balloon);
    return sane;
}

/* ---- the way to the target ---- */

static void wait_until(struct balloon *balloon, uint64_t deadline_ns)
{
    if (deadline_ns > balloon->host.now())
        loop_timer_set(balloon->pacer, deadline_ns);
}

void balloon_continue(struct balloon *balloon)
{
    uint64_t assigned = balloon_assigned(balloon);

    if (balloon->phase != BALLOON_PHASE_READY || balloon->work != BALLOON_WORK_NONE ||
        balloon->unsent > 0 || balloon->info_due)
        return;
    if (assigned > balloon->target) {
        ask_for_pages(balloon, assigned - balloon->target);
    } else if (assigned < balloon->target && balloon->pages.count > 0) {
        give_pages(balloon, balloon->target - assigned);
    } else if (assigned < balloon->target) {
        add_memory(balloon, balloon->target - assigned);
        wait_until(balloon, balloon->add_after_ns);
    }
}

void balloon_forget(struct balloon *balloon)
{
    balloon_pages_clear(&balloon->pages);
    balloon->work = BALLOON_WORK_NONE;
    balloon->wanted = 0;
    balloon->fresh = false;
    balloon->take_after_ns = 0;
    balloon->short_of = false;
    balloon->kept = 0;
    balloon->kept_ns = 0;
    balloon->add_after_ns = 0;
    balloon->add_failures = 0;
    balloon->add_refused = false;
}
