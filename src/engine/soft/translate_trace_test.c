/* What --trace-code tells of a translation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/soft/translate_private.h"
#include "tests/harness/soft_fixture.h"

/* The trace of the code at CODE_AT, translated; to be freed. */
static char *trace(struct guest *g)
{
    char *text = NULL;
    size_t length = 0;
    FILE *to = open_memstream(&text, &length);
    assert_non_null(to);
    g->soft->config.code_trace = to;
    for (unsigned i = 0; i < 3; i++) {
        guest_start(g, CODE_AT);
        assert_int_equal(guest_run_to_port(g), PORT_DONE);
    }
    g->soft->config.code_trace = NULL;
    assert_int_equal(fclose(to), 0);
    assert_non_null(text);
    return text;
}

static void trace_has_guest_and_host_code(void **state)
{
    struct guest *g = *state;
    PLACE(g, CODE_AT, "\x48\x03\x03\x90"); /* add rax, [rbx]; nop */
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    char *text = trace(g);
    assert_non_null(strstr(text, "block 0000000000020000 at 0x20000, "));
    assert_non_null(strstr(text, "\n  0000000000020000  add rax, [rbx]\n        "));
    assert_non_null(strstr(text, "  add rax, [r13]\n"));
    assert_non_null(strstr(text, "\n  0000000000020003  nop\n  0000000000020004  out 0xE9, al\n"));
    assert_non_null(strstr(text, "\n  stubs\n"));
    assert_null(strstr(text, "(not an instruction)"));
    free(text);
}

static void trace_tells_what_is_no_instruction(void **state)
{
    struct guest *g = *state;
    PLACE(g, CODE_AT, "\xeb\x01\x06"); /* jmp +1, over what has no meaning in 64-bit code */
    free(trace(g));
    const struct block *block = code_lookup(g->soft->code, CODE_AT, CODE_AT, g->cpu->mode);
    struct translation *made = atomic_load(&block->translation);
    char text[4096] = "";
    FILE *to = fmemopen(text, sizeof(text) - 1, "w");
    assert_non_null(to);
    block->bytes[0] = 0x06;
    translation_trace(to, g->soft->code->translator, made);
    assert_int_equal(fclose(to), 0);
    assert_non_null(strstr(text, "\n  0000000000020000  (not an instruction)\n"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup_translated, guest_teardown)

int main(void)
{
    if (!translator_is_possible()) {
        print_message("1..0 # SKIP this host cannot run translations\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        TEST(trace_has_guest_and_host_code),
        TEST(trace_tells_what_is_no_instruction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
