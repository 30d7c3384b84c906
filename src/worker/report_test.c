/* A crash on the fake engine, reported. */
#include "worker/report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/loop.h"
#include "tests/harness/fake_engine.h"
#include "worker/backtrace.h"

enum { LOAD = 0x100000, IMAGE_SIZE = 0x1000, CODE = 0x40, CALLER = 0x100, STACK = 0x800 };

static uint8_t image[IMAGE_SIZE];
static struct loop *loop;
static struct machine *machine;

/* Multiboot: CALLER calls 5 bytes before CALLER + 5; UD2 at CODE; a stack with frames at STACK. */
static void make_image(void)
{
    const uint32_t flags = 1 << 16;
    const uint32_t words[] = {
        0x1badb002,        flags,      -(0x1badb002 + flags), LOAD, LOAD, LOAD + IMAGE_SIZE,
        LOAD + IMAGE_SIZE, LOAD + CODE};
    memset(image, 0, sizeof(image));
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        put_le32(image + i * 4, words[i]);
    put_le16(image + CODE, 0x0b0f); /* ud2 */
    image[CALLER] = 0xe8;
    put_le32(image + CALLER + 0x20, 0x0850ff); /* call [eax + 8] */

    put_le32(image + STACK, LOAD + STACK + 0x40);
    put_le32(image + STACK + 4, LOAD + CALLER + 5);
    put_le32(image + STACK + 0x40, 0);
    put_le32(image + STACK + 0x44, LOAD + CALLER + 0x23);
}

static enum fake_action crash(struct fake_vcpu *vcpu, struct engine_exit *exit)
{
    (void)vcpu;
    *exit = (struct engine_exit){.kind = ENGINE_EXIT_SHUTDOWN};
    return FAKE_EXIT;
}

static int run_to_crash(void **state)
{
    struct machine_config config = {
        .engine = &fake_engine,
        .vcpu_count = 1,
        .memory_size = 16 << 20,
        .boot.kernel = {.name = "image", .bytes = image, .length = sizeof(image)},
        .boot.command_line = "",
    };
    struct machine_end end;
    struct reason reason;
    (void)state;

    make_image();
    assert_int_equal(loop_create(&loop), 0);
    config.loop = loop;
    fake_engine_load(&(struct fake_program){.step = crash});
    assert_int_equal(machine_create(&config, &machine, &reason), 0);
    assert_int_equal(machine_start(machine, &reason), 0);
    machine_wait(machine, &end);
    return end.kind != MACHINE_END_TRIPLE_FAULT;
}

static int destroy(void **state)
{
    (void)state;
    machine_destroy(machine);
    loop_destroy(loop);
    return 0;
}

static void report_shows_place_and_instruction(void **state)
{
    static const char map[] = "0000000000100040 T broken_function\n";
    struct symbols *symbols = NULL;
    char *text = NULL;
    size_t length = 0;
    FILE *to = open_memstream(&text, &length);
    (void)state;

    assert_int_equal(symbols_parse((const uint8_t *)map, sizeof(map) - 1, &symbols, NULL), 0);
    report_vcpu(to, machine, 0, symbols);
    (void)fclose(to);
    assert_non_null(strstr(text, "vCPU 0 at 0010:0000000000100040  broken_function+0x0"));
    assert_non_null(strstr(text, "0f 0b  ud2"));
    assert_non_null(strstr(text, "rax 000000002badb002"));
    assert_non_null(strstr(text, "cs   0010 base 0000000000000000 limit ffffffff"));
    free(text);
    symbols_destroy(symbols);
}

static void frames_are_followed(void **state)
{
    struct engine_registers registers;
    struct backtrace trace;
    (void)state;

    assert_int_equal(machine_vcpu_registers(machine, 0, &registers), 0);
    registers.gpr[GPR_RBP] = LOAD + STACK;
    backtrace_take(machine, &registers, &trace);
    assert_false(trace.scanned);
    assert_int_equal(trace.count, 2);
    assert_int_equal(trace.address[0], LOAD + CALLER + 5);
    assert_int_equal(trace.address[1], LOAD + CALLER + 0x23);
}

static void stack_is_scanned_without_frames(void **state)
{
    struct engine_registers registers;
    struct backtrace trace;
    (void)state;

    assert_int_equal(machine_vcpu_registers(machine, 0, &registers), 0);
    registers.gpr[GPR_RBP] = UINT32_MAX;
    registers.gpr[GPR_RSP] = LOAD + STACK - 0x10;
    backtrace_take(machine, &registers, &trace);
    assert_true(trace.scanned);
    assert_int_equal(trace.count, 2);
    assert_int_equal(trace.address[1], LOAD + CALLER + 0x23);
}

static void frame_that_points_to_itself_ends_the_walk(void **state)
{
    struct engine_registers registers;
    struct backtrace trace;
    uint8_t frame[8];
    (void)state;

    assert_int_equal(machine_vcpu_registers(machine, 0, &registers), 0);
    put_le32(frame, LOAD + STACK);
    put_le32(frame + 4, LOAD + CALLER + 5);
    assert_int_equal(machine_read_linear(machine, &registers, LOAD + STACK, frame, 8), 0);
    registers.gpr[GPR_RBP] = LOAD + STACK + 0x40;
    registers.gpr[GPR_RSP] = UINT64_C(0x90000000); /* no RAM: nothing to scan either */
    backtrace_take(machine, &registers, &trace);
    assert_int_equal(trace.count, 0);
}

static void crash_texts_cannot_talk_to_the_terminal(void **state)
{
    static const char text[] = "panic: a\x1b[2Jb\nCPU: 0\xff";
    const struct machine_crash crash = {.vcpu = 3,
                                        .parameter = {0xdead, 2, 3, 4, 5},
                                        .text = text,
                                        .text_length = sizeof(text) - 1};
    char *said = NULL;
    size_t length = 0;
    (void)state;

    FILE *to = open_memstream(&said, &length);
    assert_non_null(to);
    report_crash(to, &crash);
    (void)fclose(to);
    assert_string_equal(said, "partita: the guest reports a crash on vCPU 3: dead 2 3 4 5\r\n"
                              "  | panic: a\\x1b[2Jb\r\n  | CPU: 0\\xff\r\n");
    free(said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(report_shows_place_and_instruction),
        cmocka_unit_test(frames_are_followed),
        cmocka_unit_test(stack_is_scanned_without_frames),
        cmocka_unit_test(frame_that_points_to_itself_ends_the_walk),
        cmocka_unit_test(crash_texts_cannot_talk_to_the_terminal),
    };
    return cmocka_run_group_tests(tests, run_to_crash, destroy);
}
