/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hv/hv_fixture.h"
/* clang-format on */

#include <pthread.h>

static struct hv_message message_of(uint8_t value)
{
    struct hv_message message = {.type = 1, .length = 8};
    message.payload[0] = value;
    return message;
}

static int post(struct fixture *f, unsigned vp, uint8_t value)
{
    const struct hv_message message = message_of(value);
    return hv_post_message(f->hv, vp, 2, &message);
}

static void a_message_lands_in_its_slot(void **state)
{
    struct fixture *f = *state;
    enable_synic(f, 1);
    assert_int_equal(post(f, 1, 42), 0);
    const uint8_t *slot = slot_of(f, 1, 2);
    assert_int_equal(get_le32(slot), 1);
    assert_int_equal(slot[4], 8);
    assert_int_equal(slot[5], 0);
    assert_int_equal(slot[16], 42);
    assert_int_equal(f->interrupts[1][0xf3], 1);
}

static void a_taken_slot_is_marked_and_the_next_follows_at_eom(void **state)
{
    struct fixture *f = *state;
    enable_synic(f, 0);
    for (uint8_t i = 1; i <= 3; i++)
        assert_int_equal(post(f, 0, i), 0);
    uint8_t *slot = slot_of(f, 0, 2);
    assert_int_equal(slot[16], 1);
    assert_int_equal(slot[5], 1);
    for (uint8_t i = 2; i <= 3; i++) {
        put_le32(slot, 0);
        write_msr(f, 0, HV_MSR_EOM, 0);
        assert_int_equal(slot[16], i);
        assert_int_equal(f->interrupts[0][0xf3], i);
    }
    assert_int_equal(slot[5], 0);
}

/* It cleared the slot before the mark was set: no EOM comes. */
static void a_free_slot_is_noticed_at_any_event(void **state)
{
    struct fixture *f = *state;
    enable_synic(f, 0);
    assert_int_equal(post(f, 0, 1), 0);
    assert_int_equal(post(f, 0, 2), 0);
    uint8_t *slot = slot_of(f, 0, 2);
    put_le32(slot, 0);
    assert_int_equal(post(f, 0, 3), 0);
    assert_int_equal(slot[16], 2); /* in order */
    put_le32(slot, 0);
    write_msr(f, 0, HV_MSR_EOM, 0);
    assert_int_equal(slot[16], 3);
}

static void messages_before_the_guest_listens_are_kept(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(post(f, 0, 9), 0);
    enable_synic(f, 0);
    assert_int_equal(slot_of(f, 0, 2)[16], 9);
}

static void the_queue_is_bounded(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < HV_QUEUE_LENGTH; i++)
        assert_int_equal(post(f, 0, (uint8_t)i), 0);
    assert_int_equal(post(f, 0, 0), -ENOBUFS);
    const struct hv_message wrong = {.type = 1, .length = 241};
    assert_int_equal(hv_post_message(f->hv, 0, 2, &wrong), -EINVAL);
    assert_int_equal(post(f, FIXTURE_VPS, 0), -EINVAL);
}

static void an_event_interrupts_once_until_it_is_taken(void **state)
{
    struct fixture *f = *state;
    enable_synic(f, 3);
    assert_int_equal(hv_signal_event(f->hv, 3, 2, 77), 0);
    assert_int_equal(hv_signal_event(f->hv, 3, 2, 77), 0);
    assert_int_equal(f->interrupts[3][0xf3], 1);
    uint8_t *byte = mem_pin(f->mem, SIEFP_AT + 3 * 0x2000 + 2 * 256 + 77 / 8, 1);
    assert_int_equal(*byte, 1 << 77 % 8);
    *byte = 0;
    assert_int_equal(hv_signal_event(f->hv, 3, 2, 77), 0);
    assert_int_equal(f->interrupts[3][0xf3], 2);
    assert_int_equal(hv_signal_event(f->hv, 3, 2, HV_EVENT_FLAGS), -EINVAL);
    assert_int_equal(hv_signal_event(f->hv, 2, 2, 1), -EAGAIN);
}

static void masked_and_polled_interrupts_stay_away(void **state)
{
    struct fixture *f = *state;
    enable_synic(f, 0);
    write_msr(f, 0, HV_MSR_SINT0 + 2, 0xf3 | 1 << 18);
    assert_int_equal(hv_signal_event(f->hv, 0, 2, 5), 0);
    assert_int_equal(post(f, 0, 1), 0);
    assert_int_equal(f->interrupts[0][0xf3], 0);
    write_msr(f, 0, HV_MSR_SINT0 + 2, 0xf3 | 1 << 16);
    assert_int_equal(hv_signal_event(f->hv, 0, 2, 6), -EAGAIN);
    assert_false(hv_write_msr(f->hv, 0, HV_MSR_SINT0 + 2, 3));
}

static void auto_eoi_goes_with_the_interrupt(void **state)
{
    struct fixture *f = *state;
    enable_synic(f, 0);
    assert_int_equal(post(f, 0, 1), 0);
    assert_int_equal(f->auto_eois, 0);
    write_msr(f, 0, HV_MSR_SINT0 + 2, 0xf3 | 1 << 17);
    assert_int_equal(read_msr(f, 0, HV_MSR_SINT0 + 2), 0xf3 | 1 << 17);
    assert_int_equal(hv_signal_event(f->hv, 0, 2, 5), 0);
    assert_int_equal(f->interrupts[0][0xf3], 2);
    assert_int_equal(f->auto_eois, 1);
}

enum { SENDERS = 3, EACH = 3000 };

static void *send_many(void *argument)
{
    struct fixture *f = argument;
    for (int i = 0; i < EACH; i++) {
        while (post(f, 0, 1) == -ENOBUFS)
            hv_timer_expired(f->hv, 0);
    }
    return NULL;
}

static void no_message_is_lost_between_threads(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[SENDERS];
    enable_synic(f, 0);
    for (int i = 0; i < SENDERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, send_many, f), 0);
    uint32_t *type = (uint32_t *)(void *)slot_of(f, 0, 2);
    for (int taken = 0; taken < SENDERS * EACH;) {
        if (__atomic_load_n(type, __ATOMIC_ACQUIRE) == 0) {
            (void)sched_yield();
            continue;
        }
        taken++;
        __atomic_store_n(type, 0, __ATOMIC_SEQ_CST);
        if (__atomic_load_n((uint8_t *)type + 5, __ATOMIC_SEQ_CST) & 1)
            write_msr(f, 0, HV_MSR_EOM, 0);
    }
    for (int i = 0; i < SENDERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(f->interrupts[0][0xf3], SENDERS * EACH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HV_TEST(a_message_lands_in_its_slot),
        HV_TEST(a_taken_slot_is_marked_and_the_next_follows_at_eom),
        HV_TEST(a_free_slot_is_noticed_at_any_event),
        HV_TEST(messages_before_the_guest_listens_are_kept),
        HV_TEST(the_queue_is_bounded),
        HV_TEST(an_event_interrupts_once_until_it_is_taken),
        HV_TEST(masked_and_polled_interrupts_stay_away),
        HV_TEST(auto_eoi_goes_with_the_interrupt),
        HV_TEST(no_message_is_lost_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
