/* REP STOS and REP MOVS in translated code against those of the interpreter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/soft/translation.h"
#include "tests/harness/soft_pair.h"

enum { PAGE = 0x1000 };

static const struct form {
    const char *stos, *movs;
    unsigned width, length;
} forms[] = {
    {"\xf3\xaa", "\xf3\xa4", 1, 2},
    {"\x66\xf3\xab", "\x66\xf3\xa5", 2, 3},
    {"\xf3\xab", "\xf3\xa5", 4, 2},
    {"\xf3\x48\xab", "\xf3\x48\xa5", 8, 3},
};
enum { FORMS = sizeof(forms) / sizeof(forms[0]) };

static void check(struct pair *pair, const struct form *form, struct scene scene)
{
    scene.name = "rep stos";
    scene.length = form->length;
    scene.code = form->stos;
    pair_check(pair, &scene);
    scene.name = "rep movs";
    scene.code = form->movs;
    pair_check(pair, &scene);
}

/* Up to the end of a page, one beyond it, and over two of them. */
static void counts_end_where_they_end(void **state)
{
    static const unsigned bytes[] = {8, PAGE - 8, PAGE, PAGE + 8, 2 * PAGE + 8};
    static const unsigned offset[] = {0, 8, 0x123, PAGE - 8, PAGE - 1};
    for (unsigned i = 0; i < FORMS; i++) {
        for (unsigned k = 0; k < 25; k++) {
            struct scene scene = {.gpr = {[GPR_RCX] = bytes[k % 5] / forms[i].width,
                                          [GPR_RDI] = DATA_AT + offset[k / 5],
                                          [GPR_RSI] = LARGE_AT + 0x10},
                                  .outcome = PORT_DONE};
            check(*state, &forms[i], scene);
            scene.gpr[GPR_RDI] = LARGE_AT + 0x10;
            scene.gpr[GPR_RSI] = DATA_AT + offset[k / 5];
            check(*state, &forms[i], scene);
        }
    }
}

static void count_of_nothing_touches_nothing(void **state)
{
    static const struct scene scenes[] = {
        /* xor ecx, ecx in front of each */
        {"stos of nothing to nowhere", CODE("\x31\xc9\xf3\xaa"), .gpr = {[GPR_RDI] = ABSENT_AT},
         .outcome = PORT_DONE},
        {"stos of nothing to the start of a page", CODE("\x31\xc9\xf3\x48\xab"),
         .gpr = {[GPR_RDI] = DATA_AT}, .outcome = PORT_DONE},
        {"stos of nothing into a page", CODE("\x31\xc9\xf3\x48\xab"),
         .gpr = {[GPR_RDI] = DATA_AT + 8}, .outcome = PORT_DONE},
        {"movs of nothing from nowhere", CODE("\x31\xc9\xf3\xa4"),
         .gpr = {[GPR_RDI] = DATA_AT + 8, [GPR_RSI] = LOW_END}, .outcome = PORT_DONE},
        {"stos of nothing at address 0", CODE("\x31\xc9\x31\xff\xf3\xaa"), .outcome = PORT_DONE},
    };
    CHECK_SCENES(*state, scenes);
}

/* In bytes they wrap round, some to a length that would fit. */
static void huge_counts_run_into_what_stops_them(void **state)
{
    static const uint64_t counts[] = {UINT64_C(1) << 61,       (UINT64_C(1) << 61) + 2,
                                      UINT64_C(1) << 63,       (UINT64_C(1) << 63) + 4,
                                      (UINT64_C(1) << 62) + 1, UINT64_MAX};
    for (unsigned i = 0; i < FORMS * 6; i++) {
        struct scene scene = {.gpr = {[GPR_RCX] = counts[i / FORMS],
                                      [GPR_RDI] = ABSENT_AT - 0x800,
                                      [GPR_RSI] = DATA_AT + 0x10},
                              .outcome = VECTOR_PF};
        check(*state, &forms[i % FORMS], scene);
    }
}

static void backwards_is_backwards(void **state)
{
    for (unsigned i = 0; i < FORMS; i++) {
        for (unsigned count = 1; count < 0x300; count += 0xff) {
            struct scene scene = {.gpr = {[GPR_RCX] = count,
                                          [GPR_RDI] = DATA_AT + PAGE + 0x40,
                                          [GPR_RSI] = DATA_AT + PAGE + 0x38},
                                  .flags = FLAG_DF,
                                  .outcome = PORT_DONE};
            check(*state, &forms[i], scene);
        }
    }
}

/* Each element is written before the next is read. */
static void overlapping_copies_repeat_what_they_wrote(void **state)
{
    static const uint64_t source[] = {DATA_AT, ALIAS_AT};
    for (unsigned i = 0; i < FORMS * 2; i++) {
        for (unsigned distance = 0; distance < 20; distance++) {
            struct scene scene = {.gpr = {[GPR_RCX] = 0x40,
                                          [GPR_RDI] = DATA_AT + 0x100,
                                          [GPR_RSI] = source[i % 2] + 0x10a - distance},
                                  .outcome = PORT_DONE};
            check(*state, &forms[i / 2], scene);
        }
    }
}

static const struct scene faults[] = {
    {"stos into read-only", CODE("\xf3\xaa"),
     .gpr = {[GPR_RCX] = 0x20, [GPR_RDI] = READ_ONLY_AT - 0x10}, .outcome = VECTOR_PF},
    {"stos to read-only", CODE("\xf3\xaa"), .gpr = {[GPR_RCX] = 1, [GPR_RDI] = READ_ONLY_AT + 1},
     .outcome = VECTOR_PF},
    {"movs from read-only", CODE("\xf3\xa4"),
     .gpr = {[GPR_RCX] = 9, [GPR_RDI] = DATA_AT, [GPR_RSI] = READ_ONLY_AT}, .outcome = PORT_DONE},
    {"movs from absent", CODE("\xf3\xa4"),
     .gpr = {[GPR_RCX] = 9, [GPR_RDI] = DATA_AT, [GPR_RSI] = ABSENT_AT - 4}, .outcome = VECTOR_PF},
    {"movs to absent", CODE("\xf3\xa4"),
     .gpr = {[GPR_RCX] = 9, [GPR_RDI] = ABSENT_AT - 4, [GPR_RSI] = DATA_AT}, .outcome = VECTOR_PF},
    {"stos into the hole", CODE("\xf3\xaa"), .gpr = {[GPR_RCX] = 9, [GPR_RDI] = LOW_END - 4},
     .outcome = VECTOR_GP},
    {"stos round the end of all", CODE("\xf3\xaa"), .gpr = {[GPR_RCX] = 9, [GPR_RDI] = UINT64_MAX},
     .outcome = PORT_DONE},
    {"stos over the end of RAM", CODE("\xf3\xaa"),
     .gpr = {[GPR_RCX] = 9, [GPR_RDI] = LAST_AT + 0xff8}, .outcome = -1},
    {"stos up to the end of RAM", CODE("\xf3\xaa"),
     .gpr = {[GPR_RCX] = 8, [GPR_RDI] = LAST_AT + 0xff8}, .outcome = PORT_DONE},
    {"user stos to supervisor", CODE("\xf3\xaa"), .gpr = {[GPR_RCX] = 8, [GPR_RDI] = SUPERVISOR_AT},
     .user = true, .outcome = VECTOR_PF},
};

static void faults_leave_what_was_done(void **state)
{
    CHECK_SCENES(*state, faults);
}

static const struct scene others[] = {
    {"32-bit addresses", CODE("\x67\xf3\xaa"),
     .gpr = {[GPR_RCX] = UINT64_C(0x700000009), [GPR_RDI] = UINT64_C(0x800000000) + DATA_AT},
     .outcome = PORT_DONE},
    {"repne counts as rep", CODE("\xf2\xaa"), .gpr = {[GPR_RCX] = 9, [GPR_RDI] = DATA_AT},
     .outcome = PORT_DONE},
    {"not repeated", CODE("\x48\xab\x48\xa5"),
     .gpr = {[GPR_RDI] = DATA_AT, [GPR_RSI] = DATA_AT + 0x100}, .outcome = PORT_DONE},
    /* stc; rep stosb; adc eax, ecx */
    {"flags go through", CODE("\xf9\xf3\xaa\x11\xc8"), .gpr = {[GPR_RCX] = 9, [GPR_RDI] = DATA_AT},
     .outcome = PORT_DONE},
    /* mov rax, [rbx]; rep stosb; mov rdx, [rbx+8]; mov r8, [rdi+8] */
    {"between accesses that share", CODE("\x48\x8b\x03\xf3\xaa\x48\x8b\x53\x08\x4c\x8b\x47\x08"),
     .gpr = {[GPR_RBX] = DATA_AT, [GPR_RCX] = 9, [GPR_RDI] = DATA_AT + 4}, .outcome = PORT_DONE},
    /* mov [rdi], rax; rep movsb; mov [rdi], rax; mov [rsi], rax: both have moved to other pages */
    {"pointers move on", CODE("\x48\x89\x07\xf3\xa4\x48\x89\x07\x48\x89\x06"),
     .gpr = {[GPR_RCX] = 0x800, [GPR_RDI] = DATA_AT + 0x800, [GPR_RSI] = LARGE_AT + 0x800},
     .outcome = PORT_DONE},
};

static void other_forms_and_neighbours_are_right(void **state)
{
    CHECK_SCENES(*state, others);
}

int main(void)
{
    if (!translator_is_possible()) {
        print_message("1..0 # SKIP this host cannot run translations\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        pair_test(counts_end_where_they_end),
        pair_test(count_of_nothing_touches_nothing),
        pair_test(huge_counts_run_into_what_stops_them),
        pair_test(backwards_is_backwards),
        pair_test(overlapping_copies_repeat_what_they_wrote),
        pair_test(faults_leave_what_was_done),
        pair_test(other_forms_and_neighbours_are_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
