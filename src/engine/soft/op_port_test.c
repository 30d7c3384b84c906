/* Ports: widths, strings, who may use them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/harness/soft_fixture.h"

static void assert_asked(const struct guest *g, enum engine_exit_kind kind, unsigned port,
                         unsigned size)
{
    assert_int_equal(g->exit.kind, kind);
    assert_int_equal(g->exit.port.port, port);
    assert_int_equal(g->exit.port.size, size);
}

static void reads_by_width(void **state)
{
    struct guest *g = *state;
    static const struct {
        const char *code;
        unsigned length, port, size;
        uint64_t rax;
    } cases[] = {
        {"\xe4\x60", 2, 0x60, 1, 0xffffffffffffffd4},   {"\xec", 1, 0x1234, 1, 0xffffffffffffffd4},
        {"\x66\xed", 2, 0x1234, 2, 0xffffffffffffc3d4}, {"\xed", 1, 0x1234, 4, 0xa1b2c3d4},
        {"\x48\xed", 2, 0x1234, 4, 0xa1b2c3d4}, /* REX.W means nothing here */
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        g->cpu->gpr[GPR_RAX] = UINT64_MAX;
        g->cpu->gpr[GPR_RDX] = 0xf1234;
        assert_int_equal(guest_try(g, cases[i].code, cases[i].length), -1);
        assert_asked(g, ENGINE_EXIT_PORT_READ, cases[i].port, cases[i].size);
        g->exit.port.value = 0xa1b2c3d4;
        assert_int_equal(guest_run_to_port(g), PORT_DONE);
        assert_int_equal(g->cpu->gpr[GPR_RAX], cases[i].rax);
    }
}

static void writes_by_width(void **state)
{
    struct guest *g = *state;
    static const struct {
        const char *code;
        unsigned length, port, size;
        uint32_t value;
    } cases[] = {
        {"\xe6\x80", 2, 0x80, 1, 0xd4},
        {"\xee", 1, 0x1234, 1, 0xd4},
        {"\x66\xef", 2, 0x1234, 2, 0xc3d4},
        {"\xef", 1, 0x1234, 4, 0xa1b2c3d4},
    };
    g->cpu->gpr[GPR_RAX] = 0xfa1b2c3d4;
    g->cpu->gpr[GPR_RDX] = 0x1234;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(guest_try(g, cases[i].code, cases[i].length), (int)cases[i].port);
        assert_asked(g, ENGINE_EXIT_PORT_WRITE, cases[i].port, cases[i].size);
        assert_int_equal(g->exit.port.value, cases[i].value);
        assert_int_equal(guest_run_to_port(g), PORT_DONE);
    }
}

static void strings_into_memory(void **state)
{
    struct guest *g = *state;
    uint64_t *gpr = g->cpu->gpr;
    gpr[GPR_RDX] = 0x1f0;
    gpr[GPR_RDI] = DATA_AT + 0xffe; /* the second word lies in the next page */
    gpr[GPR_RCX] = 3;
    PLACE(g, CODE_AT, "\x66\xf3\x6d"); /* rep insw */
    guest_start(g, CODE_AT);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(guest_run(g), ENGINE_EXIT_PORT_READ);
        assert_asked(g, ENGINE_EXIT_PORT_READ, 0x1f0, 2);
        assert_int_equal(gpr[GPR_RCX], 3 - i);
        g->exit.port.value = 0x1100 + i;
    }
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    assert_int_equal(gpr[GPR_RDI], DATA_AT + 0x1004);
    assert_int_equal(gpr[GPR_RCX], 0);
    assert_int_equal(guest_read64(g, DATA_AT + 0xffe) & UINT64_C(0xffffffffffff),
                     UINT64_C(0x110211011100));
}

static void strings_out_of_memory(void **state)
{
    struct guest *g = *state;
    uint64_t *gpr = g->cpu->gpr;
    guest_write64(g, DATA_AT, UINT64_C(0x8877665544332211));
    gpr[GPR_RDX] = 0x1f0;
    gpr[GPR_RSI] = DATA_AT + 4;
    gpr[GPR_RCX] = 2;
    PLACE(g, CODE_AT, "\xfd\xf3\x6f"); /* std; rep outsd */
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run_to_port(g), 0x1f0);
    assert_int_equal(g->exit.port.value, 0x88776655);
    assert_int_equal(g->exit.port.size, 4);
    assert_int_equal(guest_run_to_port(g), 0x1f0);
    assert_int_equal(g->exit.port.value, 0x44332211);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    assert_int_equal(gpr[GPR_RSI], DATA_AT - 4);
    assert_int_equal(TRY(g, "\xf3\x6f"), PORT_DONE); /* with a count of zero */
}

static void device_is_not_read_when_memory_cannot_be_written(void **state)
{
    struct guest *g = *state;
    guest_map(g, DATA_AT, DATA_AT | PAGE_P);
    g->cpu->gpr[GPR_RDX] = 0x1f0;
    g->cpu->gpr[GPR_RDI] = DATA_AT;
    assert_int_equal(TRY(g, "\x6d"), VECTOR_PF); /* insd */
    assert_int_equal(guest_frame(g, 0), 3);
    assert_int_equal(g->cpu->gpr[GPR_RDI], DATA_AT);
}

static void string_into_a_device_reads_only_the_port(void **state)
{
    struct guest *g = *state;
    g->cpu->gpr[GPR_RDX] = 0x1f0;
    g->cpu->gpr[GPR_RDI] = MMIO_LINEAR;
    PLACE(g, CODE_AT, "\x6d"); /* insd */
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run(g), ENGINE_EXIT_PORT_READ);
    g->exit.port.value = 0x12345678;
    assert_int_equal(guest_run(g), ENGINE_EXIT_MMIO_WRITE);
    assert_int_equal(g->exit.mmio.value, 0x12345678);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
}

/* ---- who may ---- */

enum { BITMAP_AT = TSS_AT + 0x68 };

static void use_bitmap(struct guest *g)
{
    guest_use_user(g, 0);
    guest_write(g, TSS_AT + 0x66, "\x68\x00", 2);
    uint8_t all[0x2000];
    memset(all, 0xff, sizeof(all));
    guest_write(g, TSS_AT + 0x68, all, 0x98); /* ports up to 0x4bf; handlers follow the TSS */
    g->cpu->segment[SEGMENT_TR].limit = 0xff;
}

static void allow(struct guest *g, unsigned port)
{
    uint8_t byte = g->ram[BITMAP_AT + port / 8];
    byte &= (uint8_t) ~(1u << (port % 8));
    guest_write(g, BITMAP_AT + port / 8, &byte, 1);
}

static void bitmap_decides_for_user_code(void **state)
{
    struct guest *g = *state;
    use_bitmap(g);
    g->cpu->gpr[GPR_RDX] = 0x3f8;
    assert_int_equal(TRY(g, "\xee"), VECTOR_GP); /* out dx, al */
    assert_int_equal(guest_frame(g, 0), 0);
    use_bitmap(g);
    allow(g, 0x3f8);
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run_to_port(g), 0x3f8);
    /* All bytes of the access must be allowed, in the next byte of the map too. */
    use_bitmap(g);
    g->cpu->gpr[GPR_RDX] = 0x3fe;
    allow(g, 0x3fe);
    allow(g, 0x3ff);
    assert_int_equal(TRY(g, "\xef"), VECTOR_GP); /* out dx, eax */
    use_bitmap(g);
    for (unsigned port = 0x3fe; port < 0x402; port++)
        allow(g, port);
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run_to_port(g), 0x3fe);
}

static void ports_past_the_tss_are_denied(void **state)
{
    struct guest *g = *state;
    use_bitmap(g);
    allow(g, 0x4b0);
    g->cpu->gpr[GPR_RDX] = 0x4b0;
    assert_int_equal(TRY(g, "\xee"), 0x4b0); /* bytes 0xfe and 0xff: the last two */
    use_bitmap(g);
    g->cpu->gpr[GPR_RDX] = 0x4b8;
    allow(g, 0x4b8);
    assert_int_equal(TRY(g, "\xee"), VECTOR_GP); /* its second byte lies past the limit */
    use_bitmap(g);
    g->cpu->gpr[GPR_RDX] = 0x3f8;
    allow(g, 0x3f8);
    g->cpu->segment[SEGMENT_TR].limit = 0x66;
    assert_int_equal(TRY(g, "\xee"), VECTOR_GP); /* no room for a bitmap's offset */
}

static void iopl_opens_all_ports(void **state)
{
    struct guest *g = *state;
    use_bitmap(g);
    cpu_set_flags(g->cpu, g->cpu->flags | FLAG_IOPL);
    g->cpu->gpr[GPR_RDX] = 0x3f8;
    assert_int_equal(TRY(g, "\xee"), 0x3f8);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reads_by_width),
        TEST(writes_by_width),
        TEST(strings_into_memory),
        TEST(strings_out_of_memory),
        TEST(device_is_not_read_when_memory_cannot_be_written),
        TEST(string_into_a_device_reads_only_the_port),
        TEST(bitmap_decides_for_user_code),
        TEST(ports_past_the_tss_are_denied),
        TEST(iopl_opens_all_ports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
