/*
 * What an instruction asks of the caller of run(): each question once, in order, and the answer
 * reaches the instruction that asked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/harness/soft_fixture.h"

enum { MAX_ASKED = 32 };

/* A device that logs what is asked; its byte at address a reads as the low byte of a, plus 1. */
struct device {
    struct engine_exit asked[MAX_ASKED];
    unsigned count;
};

static uint64_t device_word(uint64_t gpa, unsigned size)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)(uint8_t)(gpa + i + 1) << (8 * i);
    return value;
}

/* Run until PORT_DONE or an exception; every other question is logged and answered. */
static int serve(struct guest *g, struct device *device)
{
    device->count = 0;
    for (;;) {
        enum engine_exit_kind kind = guest_run(g);
        if (kind == ENGINE_EXIT_PORT_WRITE && g->exit.port.port < 0x100)
            return g->exit.port.port;
        assert_true(device->count < MAX_ASKED);
        device->asked[device->count++] = g->exit;
        if (kind == ENGINE_EXIT_MMIO_READ)
            g->exit.mmio.value = device_word(g->exit.mmio.gpa, g->exit.mmio.size);
        else if (kind == ENGINE_EXIT_PORT_READ)
            g->exit.port.value = 0xa1b2c3d4;
        else if (kind != ENGINE_EXIT_MMIO_WRITE && kind != ENGINE_EXIT_PORT_WRITE)
            fail_msg("exit of kind %d", (int)kind);
    }
}

static int serve_code(struct guest *g, struct device *device, const void *code, size_t length)
{
    guest_place(g, CODE_AT, code, length);
    guest_start(g, CODE_AT);
    return serve(g, device);
}

#define SERVE(g, device, code) \
    assert_int_equal(serve_code(g, device, "" code, sizeof(code) - 1), PORT_DONE)

static void assert_read(const struct device *d, unsigned i, uint64_t gpa, unsigned size)
{
    assert_true(i < d->count);
    assert_int_equal(d->asked[i].kind, ENGINE_EXIT_MMIO_READ);
    assert_int_equal(d->asked[i].mmio.gpa, gpa);
    assert_int_equal(d->asked[i].mmio.size, size);
}

static void assert_write(const struct device *d, unsigned i, uint64_t gpa, unsigned size,
                         uint64_t value)
{
    assert_true(i < d->count);
    assert_int_equal(d->asked[i].kind, ENGINE_EXIT_MMIO_WRITE);
    assert_int_equal(d->asked[i].mmio.gpa, gpa);
    assert_int_equal(d->asked[i].mmio.size, size);
    assert_int_equal(d->asked[i].mmio.value, value);
}

/* ---- one question ---- */

static void loads_take_their_width_of_the_answer(void **state)
{
    struct guest *g = *state;
    struct device d;
    uint64_t *rax = &g->cpu->gpr[GPR_RAX];
    g->cpu->gpr[GPR_RBX] = MMIO_LINEAR + 0x10;
    *rax = UINT64_MAX;
    SERVE(g, &d, "\x8a\x03"); /* mov al, [rbx] */
    assert_int_equal(*rax, 0xffffffffffffff11);
    SERVE(g, &d, "\x66\x8b\x03"); /* mov ax, [rbx] */
    assert_int_equal(*rax, 0xffffffffffff1211);
    SERVE(g, &d, "\x8b\x03"); /* mov eax, [rbx] */
    assert_int_equal(*rax, 0x14131211);
    SERVE(g, &d, "\x48\x8b\x03"); /* mov rax, [rbx] */
    assert_int_equal(*rax, 0x1817161514131211);
    assert_int_equal(d.count, 1);
    assert_read(&d, 0, MMIO_GPA + 0x10, 8);
}

static void bits_above_the_width_of_an_answer_are_ignored(void **state)
{
    struct guest *g = *state;
    g->cpu->gpr[GPR_RBX] = MMIO_LINEAR;
    g->cpu->gpr[GPR_RDX] = 0x3f8;
    PLACE(g, CODE_AT, "\x0f\xb6\x03\xec"); /* movzx eax, byte [rbx]; in al, dx */
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run(g), ENGINE_EXIT_MMIO_READ);
    g->exit.mmio.value = 0x1234;
    assert_int_equal(guest_run(g), ENGINE_EXIT_PORT_READ);
    assert_int_equal(g->cpu->gpr[GPR_RAX], 0x34);
    g->exit.port.value = 0xabcd;
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RAX], 0xcd);
}

static void stores_tell_their_value(void **state)
{
    struct guest *g = *state;
    struct device d;
    g->cpu->gpr[GPR_RBX] = MMIO_LINEAR + 8;
    SERVE(g, &d, "\x66\xc7\x03\x34\x12"); /* mov word [rbx], 0x1234 */
    assert_int_equal(d.count, 1);
    assert_write(&d, 0, MMIO_GPA + 8, 2, 0x1234);
}

static void registers_change_only_with_the_answer(void **state)
{
    struct guest *g = *state;
    g->cpu->gpr[GPR_RBX] = MMIO_LINEAR;
    g->cpu->gpr[GPR_RAX] = 7;
    PLACE(g, CODE_AT, "\x48\x03\x03"); /* add rax, [rbx] */
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run(g), ENGINE_EXIT_MMIO_READ);
    assert_int_equal(g->cpu->gpr[GPR_RAX], 7);
    assert_int_equal(g->cpu->rip, CODE_AT);
    g->exit.mmio.value = 5;
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RAX], 12);
}

/* ---- several questions of one instruction ---- */

static void read_modify_write_reads_once_and_writes_once(void **state)
{
    struct guest *g = *state;
    struct device d;
    g->cpu->gpr[GPR_RBX] = MMIO_LINEAR;
    g->cpu->gpr[GPR_RAX] = UINT64_C(0xf000000000000000);
    SERVE(g, &d, "\x48\x01\x03"); /* add [rbx], rax */
    assert_int_equal(d.count, 2);
    assert_read(&d, 0, MMIO_GPA, 8);
    assert_write(&d, 1, MMIO_GPA, 8, UINT64_C(0xf807060504030201));
    assert_int_equal(g->cpu->flags & (FLAG_SF | FLAG_CF), FLAG_SF);
    SERVE(g, &d, "\xc0\x23\x03"); /* shl byte [rbx], 3 */
    assert_int_equal(d.count, 2);
    assert_write(&d, 1, MMIO_GPA, 1, 8);
}

static void exchanges_give_the_old_value(void **state)
{
    struct guest *g = *state;
    struct device d;
    g->cpu->gpr[GPR_RBX] = MMIO_LINEAR + 4;
    g->cpu->gpr[GPR_RAX] = UINT64_C(0xaaaabbbbccccdddd);
    SERVE(g, &d, "\x87\x03"); /* xchg [rbx], eax */
    assert_int_equal(d.count, 2);
    assert_write(&d, 1, MMIO_GPA + 4, 4, 0xccccdddd);
    assert_int_equal(g->cpu->gpr[GPR_RAX], 0x08070605);
    g->cpu->gpr[GPR_RCX] = 0x77;
    SERVE(g, &d, "\xf0\x0f\xb1\x0b"); /* lock cmpxchg [rbx], ecx */
    assert_int_equal(d.count, 2);
    assert_write(&d, 1, MMIO_GPA + 4, 4, 0x77);
    assert_int_equal(g->cpu->flags & FLAG_ZF, FLAG_ZF);
}

static void stack_instructions_move_between_device_and_stack(void **state)
{
    struct guest *g = *state;
    struct device d;
    g->cpu->gpr[GPR_RBX] = MMIO_LINEAR;
    SERVE(g, &d, "\xff\x33"); /* push qword [rbx] */
    assert_int_equal(d.count, 1);
    assert_int_equal(g->cpu->gpr[GPR_RSP], STACK_TOP - 8);
    assert_int_equal(guest_read64(g, STACK_TOP - 8), UINT64_C(0x0807060504030201));
    SERVE(g, &d, "\x8f\x03"); /* pop qword [rbx] */
    assert_int_equal(d.count, 1);
    assert_write(&d, 0, MMIO_GPA, 8, UINT64_C(0x0807060504030201));
    assert_int_equal(g->cpu->gpr[GPR_RSP], STACK_TOP);
}

static void stack_in_a_device_is_written_once(void **state)
{
    struct guest *g = *state;
    struct device d;
    g->cpu->gpr[GPR_RSP] = MMIO_LINEAR + 0x100;
    g->cpu->gpr[GPR_RBX] = MMIO_LINEAR;
    SERVE(g, &d, "\xff\x33"); /* push qword [rbx] */
    assert_int_equal(d.count, 2);
    assert_read(&d, 0, MMIO_GPA, 8);
    assert_write(&d, 1, MMIO_GPA + 0xf8, 8, UINT64_C(0x0807060504030201));
    assert_int_equal(g->cpu->gpr[GPR_RSP], MMIO_LINEAR + 0xf8);
}

static void moves_from_device_to_device(void **state)
{
    struct guest *g = *state;
    struct device d;
    g->cpu->gpr[GPR_RSI] = MMIO_LINEAR;
    g->cpu->gpr[GPR_RDI] = MMIO_LINEAR + 0x1000;
    g->cpu->gpr[GPR_RCX] = 3;
    SERVE(g, &d, "\xf3\xa5"); /* rep movsd */
    assert_int_equal(d.count, 6);
    for (unsigned i = 0; i < 3; i++) {
        assert_read(&d, 2 * i, MMIO_GPA + 4 * i, 4);
        assert_write(&d, 2 * i + 1, MMIO_GPA + 0x1000 + 4 * i, 4, device_word(MMIO_GPA + 4 * i, 4));
    }
    assert_int_equal(g->cpu->gpr[GPR_RCX], 0);
    assert_int_equal(g->cpu->gpr[GPR_RSI], MMIO_LINEAR + 12);
    assert_int_equal(g->cpu->gpr[GPR_RDI], MMIO_LINEAR + 0x100c);
}

static void comparison_of_two_device_words(void **state)
{
    struct guest *g = *state;
    struct device d;
    g->cpu->gpr[GPR_RSI] = MMIO_LINEAR + 1;
    g->cpu->gpr[GPR_RDI] = MMIO_LINEAR + 1;
    SERVE(g, &d, "\xa6"); /* cmpsb */
    assert_int_equal(d.count, 2);
    assert_int_equal(g->cpu->flags & FLAG_ZF, FLAG_ZF);
}

static void vectors_are_asked_for_in_words(void **state)
{
    struct guest *g = *state;
    struct device d;
    g->cpu->gpr[GPR_RBX] = MMIO_LINEAR;
    g->cpu->gpr[GPR_RCX] = DATA_AT;
    /* movdqu xmm1, [rbx]; movdqu [rbx], xmm1; movdqu [rcx], xmm1 */
    SERVE(g, &d, "\xf3\x0f\x6f\x0b\xf3\x0f\x7f\x0b\xf3\x0f\x7f\x09");
    assert_int_equal(d.count, 4);
    assert_read(&d, 0, MMIO_GPA, 8);
    assert_read(&d, 1, MMIO_GPA + 8, 8);
    assert_write(&d, 2, MMIO_GPA, 8, UINT64_C(0x0807060504030201));
    assert_write(&d, 3, MMIO_GPA + 8, 8, UINT64_C(0x100f0e0d0c0b0a09));
    assert_int_equal(guest_read64(g, DATA_AT + 8), UINT64_C(0x100f0e0d0c0b0a09));
}

static void access_across_the_edge_of_a_device(void **state)
{
    struct guest *g = *state;
    struct device d;
    guest_map(g, DATA_AT + 0x1000, MMIO_GPA | PAGE_P | PAGE_W | PAGE_U);
    guest_write64(g, DATA_AT + 0xff8, UINT64_C(0x1122334455667788));
    g->cpu->gpr[GPR_RBX] = DATA_AT + 0xffd;
    SERVE(g, &d, "\x48\x8b\x03"); /* mov rax, [rbx] */
    assert_int_equal(g->cpu->gpr[GPR_RAX], UINT64_C(0x0504030201112233));
    assert_int_equal(d.count, 2);
    assert_read(&d, 0, MMIO_GPA, 4);
    assert_read(&d, 1, MMIO_GPA + 4, 1);
    g->cpu->gpr[GPR_RAX] = UINT64_C(0xa8a7a6a5a4a3a2a1);
    SERVE(g, &d, "\x48\x89\x03"); /* mov [rbx], rax */
    assert_int_equal(d.count, 2);
    assert_write(&d, 0, MMIO_GPA, 4, 0xa7a6a5a4);
    assert_write(&d, 1, MMIO_GPA + 4, 1, 0xa8);
    assert_int_equal(guest_read64(g, DATA_AT + 0xff8), UINT64_C(0xa3a2a14455667788));
}

static void more_questions_than_an_instruction_may_have_fault(void **state)
{
    struct guest *g = *state;
    struct device d;
    g->cpu->gpr[GPR_RBX] = MMIO_LINEAR;
    static const char fxsave[] = "\x0f\xae\x03"; /* fxsave [rbx]: 64 words */
    assert_int_equal(serve_code(g, &d, fxsave, sizeof(fxsave) - 1), VECTOR_GP);
    assert_int_equal(d.count, CPU_MAX_REPLIES);
    assert_int_equal(guest_frame(g, 1), CODE_AT);
}

/* ---- between question and answer ---- */

static void kick_does_not_repeat_a_question(void **state)
{
    struct guest *g = *state;
    g->cpu->gpr[GPR_RBX] = MMIO_LINEAR;
    PLACE(g, CODE_AT, "\x48\x01\x03"); /* add [rbx], rax */
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run(g), ENGINE_EXIT_MMIO_READ);
    g->exit.mmio.value = 1;
    soft_engine.kick(g->vcpu);
    assert_int_equal(guest_run(g), ENGINE_EXIT_KICKED);
    assert_int_equal(guest_run(g), ENGINE_EXIT_MMIO_WRITE);
    soft_engine.kick(g->vcpu);
    assert_int_equal(guest_run(g), ENGINE_EXIT_KICKED);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
}

static void interrupt_waits_for_an_instruction_that_was_answered(void **state)
{
    struct guest *g = *state;
    g->cpu->gpr[GPR_RBX] = MMIO_LINEAR;
    PLACE(g, CODE_AT, "\x89\x03"); /* mov [rbx], eax */
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run(g), ENGINE_EXIT_MMIO_WRITE);
    struct engine_event nmi = {.kind = ENGINE_EVENT_NMI};
    assert_int_equal(soft_engine.raise(g->vcpu, &nmi), 0);
    assert_int_equal(guest_run_to_port(g), VECTOR_NMI);
    /* The handler returns behind the store. */
    assert_int_equal(guest_frame(g, 0), CODE_AT + 2);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
}

static void port_write_is_not_repeated_by_an_interrupt(void **state)
{
    struct guest *g = *state;
    PLACE(g, CODE_AT, "\xe6\xe8"); /* out 0xe8, al */
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run_to_port(g), 0xe8);
    struct engine_event nmi = {.kind = ENGINE_EVENT_NMI};
    assert_int_equal(soft_engine.raise(g->vcpu, &nmi), 0);
    assert_int_equal(guest_run_to_port(g), VECTOR_NMI);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
}

static void question_that_changed_meanwhile_is_asked_anew(void **state)
{
    struct guest *g = *state;
    /* A page table entry that another processor changes while the device is asked. */
    guest_map(g, DATA_AT, MMIO_GPA | PAGE_P | PAGE_W | PAGE_U);
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    PLACE(g, CODE_AT, "\x8b\x03"); /* mov eax, [rbx] */
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run(g), ENGINE_EXIT_MMIO_READ);
    assert_int_equal(g->exit.mmio.gpa, MMIO_GPA);
    g->exit.mmio.value = 1;
    guest_map(g, DATA_AT, (MMIO_GPA + 0x1000) | PAGE_P | PAGE_W | PAGE_U);
    assert_int_equal(guest_run(g), ENGINE_EXIT_MMIO_READ);
    assert_int_equal(g->exit.mmio.gpa, MMIO_GPA + 0x1000);
    g->exit.mmio.value = 2;
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RAX], 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(loads_take_their_width_of_the_answer),
        TEST(bits_above_the_width_of_an_answer_are_ignored),
        TEST(stores_tell_their_value),
        TEST(registers_change_only_with_the_answer),
        TEST(read_modify_write_reads_once_and_writes_once),
        TEST(exchanges_give_the_old_value),
        TEST(stack_instructions_move_between_device_and_stack),
        TEST(stack_in_a_device_is_written_once),
        TEST(moves_from_device_to_device),
        TEST(comparison_of_two_device_words),
        TEST(vectors_are_asked_for_in_words),
        TEST(access_across_the_edge_of_a_device),
        TEST(more_questions_than_an_instruction_may_have_fault),
        TEST(kick_does_not_repeat_a_question),
        TEST(interrupt_waits_for_an_instruction_that_was_answered),
        TEST(port_write_is_not_repeated_by_an_interrupt),
        TEST(question_that_changed_meanwhile_is_asked_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
