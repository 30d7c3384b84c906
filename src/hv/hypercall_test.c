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

static struct hv_message last;
static uint16_t last_flag;

static enum hv_status on_message(void *owner, const struct hv_message *message)
{
    (void)owner;
    last = *message;
    return HV_STATUS_SUCCESS;
}

static enum hv_status on_event(void *owner, uint16_t flag)
{
    (void)owner;
    last_flag = flag;
    return HV_STATUS_SUCCESS;
}

static uint64_t call(struct fixture *f, uint64_t control, uint64_t input, uint64_t output)
{
    struct hv_call call = {.long_mode = true, .rcx = control, .rdx = input, .r8 = output};
    hv_hypercall(f->hv, 0, &call);
    return call.rax;
}

static uint8_t *input(struct fixture *f)
{
    return mem_pin(f->mem, INPUT_AT, MEM_PAGE_SIZE);
}

static void messages_reach_their_port(void **state)
{
    struct fixture *f = *state;
    const struct hv_port port = {.message = on_message};
    assert_int_equal(hv_port_connect(f->hv, 4, &port), 0);
    put_le32(input(f), 4);
    put_le32(input(f) + 8, 1);
    put_le32(input(f) + 12, 240);
    input(f)[16 + 239] = 99;
    assert_int_equal(call(f, 0x5c, INPUT_AT, 0), HV_STATUS_SUCCESS);
    assert_int_equal(last.length, 240);
    assert_int_equal(last.payload[239], 99);
    put_le32(input(f) + 12, 241);
    assert_int_equal(call(f, 0x5c, INPUT_AT, 0), HV_STATUS_INVALID_PARAMETER);
    put_le32(input(f) + 12, 0);
    put_le32(input(f) + 8, 0x80000001);
    assert_int_equal(call(f, 0x5c, INPUT_AT, 0), HV_STATUS_INVALID_PARAMETER);
    put_le32(input(f) + 8, 1);
    put_le32(input(f), 5);
    assert_int_equal(call(f, 0x5c, INPUT_AT, 0), HV_STATUS_INVALID_CONNECTION_ID);
}

static void events_come_in_registers_or_memory(void **state)
{
    struct fixture *f = *state;
    const struct hv_port port = {.event = on_event};
    assert_int_equal(hv_port_connect(f->hv, 0x10005, &port), 0);
    assert_int_equal(call(f, 0x5d | 1 << 16, UINT64_C(3) << 32 | 0x10005, 0), HV_STATUS_SUCCESS);
    assert_int_equal(last_flag, 3);
    put_le64(input(f), UINT64_C(4) << 32 | 0x10005);
    assert_int_equal(call(f, 0x5d, INPUT_AT, 0), HV_STATUS_SUCCESS);
    assert_int_equal(last_flag, 4);
    assert_int_equal(call(f, 0x5d | 1 << 16, UINT64_C(1) << 48 | 0x10005, 0),
                     HV_STATUS_INVALID_PARAMETER);
}

static void parameters_lie_in_one_page_of_ram(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(call(f, 0x5c, INPUT_AT + 4, 0), HV_STATUS_INVALID_ALIGNMENT);
    assert_int_equal(call(f, 0x5c, INPUT_AT + 0xf08, 0), HV_STATUS_INVALID_ALIGNMENT);
    assert_int_equal(call(f, 0x5c, FIXTURE_RAM, 0), HV_STATUS_INVALID_PARAMETER);
    assert_int_equal(call(f, 0x5c, UINT64_MAX - 7, 0), HV_STATUS_INVALID_ALIGNMENT);
}

static void control_words_are_checked(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(call(f, 0x7777, INPUT_AT, 0), HV_STATUS_INVALID_HYPERCALL_CODE);
    assert_int_equal(call(f, 0x5d | UINT64_C(1) << 27, INPUT_AT, 0),
                     HV_STATUS_INVALID_HYPERCALL_INPUT);
    assert_int_equal(call(f, 0x5d | UINT64_C(1) << 63, INPUT_AT, 0),
                     HV_STATUS_INVALID_HYPERCALL_INPUT);
    assert_int_equal(call(f, 0x5d | UINT64_C(1) << 32, INPUT_AT, 0),
                     HV_STATUS_INVALID_HYPERCALL_INPUT);
    assert_int_equal(call(f, 0x5d | 1 << 17, INPUT_AT, 0), HV_STATUS_INVALID_HYPERCALL_INPUT);
    assert_int_equal(call(f, 0x03, INPUT_AT, 0),
                     HV_STATUS_INVALID_HYPERCALL_INPUT); /* no element */
    assert_int_equal(call(f, 0x03 | UINT64_C(2) << 32 | UINT64_C(2) << 48, INPUT_AT, 0),
                     HV_STATUS_INVALID_HYPERCALL_INPUT);
    assert_int_equal(call(f, 0x03 | UINT64_C(0xfff) << 32, INPUT_AT, 0),
                     HV_STATUS_INVALID_HYPERCALL_INPUT);
}

static void privileges_gate_calls(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(call(f, 0x46, 0, OUTPUT_AT), HV_STATUS_ACCESS_DENIED);
    assert_int_equal(call(f, 0x8001, 0, OUTPUT_AT), HV_STATUS_ACCESS_DENIED);
    struct fixture *bare = fixture_create(HV_PRIVILEGE(HV_HYPERCALL));
    assert_int_equal(call(bare, 0x5c, INPUT_AT, 0), HV_STATUS_ACCESS_DENIED);
    assert_int_equal(call(bare, 0x5d | 1 << 16, 1, 0), HV_STATUS_ACCESS_DENIED);
    fixture_destroy(bare);
    struct fixture *rich = fixture_create(hv_default_privileges() | HV_PRIVILEGE(HV_PARTITION_ID) |
                                          HV_PRIVILEGE(HV_EXTENDED_HYPERCALLS));
    assert_int_equal(call(rich, 0x46, 0, OUTPUT_AT), HV_STATUS_SUCCESS);
    assert_int_equal(get_le64(mem_pin(rich->mem, OUTPUT_AT, 8)), 2);
    assert_int_equal(call(rich, 0x8001, 0, OUTPUT_AT), HV_STATUS_SUCCESS);
    assert_int_equal(get_le64(mem_pin(rich->mem, OUTPUT_AT, 8)), 0);
    assert_int_equal(call(rich, 0x46, 0, OUTPUT_AT + 1), HV_STATUS_INVALID_ALIGNMENT);
    assert_int_equal(call(rich, 0x46 | 1 << 16, 0, 0), HV_STATUS_INVALID_HYPERCALL_INPUT);
    fixture_destroy(rich);
}

struct discarded {
    unsigned count;
    uint64_t gpa, length;
};

static void discard(void *owner, uint64_t gpa, uint64_t length)
{
    struct discarded *discarded = owner;
    discarded->count++;
    discarded->gpa = gpa;
    discarded->length = length;
}

/* The hint with these words of input; the status. */
static uint64_t hint(struct fixture *f, unsigned count, uint64_t type, uint64_t first,
                     uint64_t second)
{
    put_le64(input(f), type);
    put_le64(input(f) + 8, first);
    put_le64(input(f) + 16, second);
    return call(f, 0x8003 | (uint64_t)count << 32, INPUT_AT, 0) & 0xffff;
}

static void cold_memory_is_discarded(void **state)
{
    struct discarded discarded = {0};
    struct fixture *f =
        fixture_create(hv_default_privileges() | HV_PRIVILEGE(HV_EXTENDED_HYPERCALLS));
    (void)state;
    assert_int_equal(hint(f, 1, 2, 0x3000, 0), HV_STATUS_INVALID_PARAMETER); /* no host for it */
    f->hv->host.owner = &discarded;
    f->hv->host.discard = discard;
    assert_int_equal(call(f, 0x8001, 0, OUTPUT_AT), HV_STATUS_SUCCESS);
    assert_int_equal(get_le64(mem_pin(f->mem, OUTPUT_AT, 8)), 0x100);
    assert_int_equal(hint(f, 2, 2, 0x3000, 0x5002), HV_STATUS_SUCCESS);
    assert_int_equal(discarded.count, 2);
    assert_int_equal(discarded.gpa, 0x5000);
    assert_int_equal(discarded.length, 0x3000);
    assert_int_equal(hint(f, 1, 2, 0x800, 0), HV_STATUS_SUCCESS); /* large */
    assert_int_equal(discarded.gpa, 0);
    assert_int_equal(discarded.length, 0x200000);
    discarded.count = 0;
    assert_int_equal(hint(f, 2, 2, 0x3000, FIXTURE_RAM), HV_STATUS_INVALID_PARAMETER);
    assert_int_equal(hint(f, 1, 2, 0x1800, 0), HV_STATUS_INVALID_PARAMETER); /* 1 GiB */
    assert_int_equal(hint(f, 1, 2, UINT64_MAX, 0), HV_STATUS_INVALID_PARAMETER);
    assert_int_equal(hint(f, 1, 1, 0x3000, 0), HV_STATUS_INVALID_PARAMETER);
    assert_int_equal(hint(f, 1, 6, 0x3000, 0), HV_STATUS_INVALID_PARAMETER);
    assert_int_equal(discarded.count, 0);
    fixture_destroy(f);
}

static void flushes_name_their_processors(void **state)
{
    struct fixture *f = *state;
    put_le64(input(f) + 16, 0xfff4);
    assert_int_equal(call(f, 0x02, INPUT_AT, 0), HV_STATUS_SUCCESS);
    assert_int_equal(f->flushed, 4); /* those that there are */
    put_le64(input(f) + 8, 1);
    assert_int_equal(call(f, 0x03 | UINT64_C(5) << 32, INPUT_AT, 0), UINT64_C(5) << 32);
    assert_int_equal(f->flushed, 0xf);
    put_le64(input(f) + 8, 0x10);
    assert_int_equal(call(f, 0x02, INPUT_AT, 0), HV_STATUS_INVALID_PARAMETER);
    assert_int_equal(f->flushes, 2);
}

static void sets_may_be_sparse(void **state)
{
    struct fixture *f = *state;
    put_le64(input(f) + 16, 0); /* sparse */
    put_le64(input(f) + 24, 3); /* two banks */
    put_le64(input(f) + 32, 0xa);
    put_le64(input(f) + 40, UINT64_MAX);
    assert_int_equal(call(f, 0x13 | 2 << 17, INPUT_AT, 0), HV_STATUS_SUCCESS);
    assert_int_equal(f->flushed, 0xa);
    assert_int_equal(call(f, 0x13 | 1 << 17, INPUT_AT, 0), HV_STATUS_INVALID_PARAMETER);
    put_le64(input(f) + 16, 1);
    assert_int_equal(call(f, 0x14 | 2 << 17 | UINT64_C(1) << 32, INPUT_AT, 0), UINT64_C(1) << 32);
    assert_int_equal(f->flushed, 0xf);
    put_le64(input(f) + 16, 2);
    assert_int_equal(call(f, 0x13 | 2 << 17, INPUT_AT, 0), HV_STATUS_INVALID_PARAMETER);
}

static void ipis_reach_each_of_the_set(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(call(f, 0x0b | 1 << 16, 0xfb, 5), HV_STATUS_SUCCESS);
    assert_int_equal(f->interrupts[0][0xfb] + f->interrupts[2][0xfb], 2);
    assert_int_equal(f->interrupts[1][0xfb] + f->interrupts[3][0xfb], 0);
    assert_int_equal(call(f, 0x0b | 1 << 16, 0x0f, 5), HV_STATUS_INVALID_PARAMETER);
    assert_int_equal(call(f, 0x0b | 1 << 16, 0x100, 5), HV_STATUS_INVALID_PARAMETER);
    put_le32(input(f), 0xfc);
    put_le64(input(f) + 8, 1); /* all */
    assert_int_equal(call(f, 0x15, INPUT_AT, 0), HV_STATUS_SUCCESS);
    assert_int_equal(f->interrupts[3][0xfc], 1);
}

static void fast_calls_may_go_on_in_xmm_registers(void **state)
{
    struct fixture *f = *state;
    struct hv_call c = {.long_mode = true, .rcx = 0x02 | 1 << 16};
    assert_true(hv_call_uses_xmm(f->hv, &c)); /* 24 bytes */
    c.xmm[0][0] = 0x3;
    hv_hypercall(f->hv, 0, &c);
    assert_int_equal(c.rax, HV_STATUS_SUCCESS);
    assert_int_equal(f->flushed, 3);
    c.rcx = 0x5d | 1 << 16;
    assert_false(hv_call_uses_xmm(f->hv, &c));
    c.rcx = 0x5c | 1 << 16; /* 256 bytes: too much */
    hv_hypercall(f->hv, 0, &c);
    assert_int_equal(c.rax, HV_STATUS_INVALID_HYPERCALL_INPUT);
}

static void registers_of_32_bit_callers_are_pairs(void **state)
{
    struct fixture *f = *state;
    struct hv_call c = {.rax = 0x03, .rdx = 4, .rcx = INPUT_AT}; /* four elements */
    put_le64(input(f) + 8, 1);
    hv_hypercall(f->hv, 0, &c);
    assert_int_equal(c.rax, HV_STATUS_SUCCESS);
    assert_int_equal(c.rdx, 4);
    assert_int_equal(f->flushed, 0xf);
    assert_int_equal(call(f, 0x08 | 1 << 16, 100, 0), HV_STATUS_SUCCESS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HV_TEST(messages_reach_their_port),
        HV_TEST(events_come_in_registers_or_memory),
        HV_TEST(parameters_lie_in_one_page_of_ram),
        HV_TEST(control_words_are_checked),
        HV_TEST(privileges_gate_calls),
        HV_TEST(cold_memory_is_discarded),
        HV_TEST(flushes_name_their_processors),
        HV_TEST(sets_may_be_sparse),
        HV_TEST(ipis_reach_each_of_the_set),
        HV_TEST(fast_calls_may_go_on_in_xmm_registers),
        HV_TEST(registers_of_32_bit_callers_are_pairs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
