/* Where translations lie, what links them, and which of them a host address belongs to. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "engine/soft/translate_private.h"
#include "engine/soft/translation.h"
#include "tests/harness/soft_fixture.h"

enum { RUNS = 5 };

static struct translator *translator_of(const struct guest *g)
{
    return g->soft->code->translator;
}

static struct translation *translation_at(const struct guest *g, uint64_t at)
{
    struct block *block = code_lookup(g->soft->code, at, at, g->cpu->mode);
    assert_non_null(block);
    return atomic_load(&block->translation);
}

static void run_often(struct guest *g)
{
    for (unsigned i = 0; i < RUNS; i++) {
        guest_start(g, CODE_AT);
        assert_int_equal(guest_run_to_port(g), PORT_DONE);
    }
    assert_non_null(translation_at(g, CODE_AT));
}

/* ---- links ---- */

/* Where the jump leads whose distance is at `site`, in the executable mapping. */
static const uint8_t *led_to(const struct guest *g, const uint8_t *site)
{
    const struct translator *translator = translator_of(g);
    int32_t distance;
    memcpy(&distance, site, sizeof(distance));
    return translator->executable + (site + sizeof(distance) - translator->writable) + distance;
}

static const uint8_t *stub_of(const struct guest *g, const struct link *link)
{
    const struct translator *translator = translator_of(g);
    return translator->executable + (link->stub - translator->writable);
}

static void jump_inside_a_page_becomes_a_link(void **state)
{
    struct guest *g = *state;
    PLACE(g, CODE_AT, "\xeb\x00\xb0\x11"); /* jmp +0; mov al, 0x11 */
    run_often(g);
    const struct translation *to = translation_at(g, CODE_AT + 2);
    const struct link *link = to->incoming;
    assert_non_null(link);
    assert_null(link->next);
    assert_ptr_equal(link->to, to);
    assert_ptr_equal(link->from, translation_at(g, CODE_AT));
    assert_int_equal(link->target, CODE_AT + 2);
    assert_int_equal((uintptr_t)link->site % 4, 0);
    assert_ptr_equal(led_to(g, link->site), to->entry);
}

static void link_backward_leads_to_a_poll(void **state)
{
    struct guest *g = *state;
    /* mov ecx, 9; 1: add eax, ecx; dec ecx; jnz 1b */
    PLACE(g, CODE_AT, "\xb9\x09\x00\x00\x00\x01\xc8\xff\xc9\x75\xfa");
    run_often(g);
    const struct translation *to = translation_at(g, CODE_AT + 5);
    unsigned backward = 0;
    for (const struct link *link = to->incoming; link != NULL; link = link->next) {
        backward += link->backward;
        const uint8_t *saved = link->backward ? to->entry_saved_poll : to->entry_saved;
        const uint8_t *live = link->backward ? to->entry_poll : to->entry;
        assert_ptr_equal(led_to(g, link->site), link->flags_saved ? saved : live);
    }
    assert_true(backward > 0);
    assert_ptr_not_equal(to->entry_poll, to->entry);
}

static void jump_to_another_page_is_never_a_link(void **state)
{
    struct guest *g = *state;
    PLACE(g, CODE_AT, "\xe9\xfb\x1f\x00\x00"); /* jmp CODE_AT + 0x2000 */
    PLACE(g, CODE_AT + 0x2000, "\x90");
    run_often(g);
    assert_null(translation_at(g, CODE_AT + 0x2000)->incoming);
}

static void link_is_undone_when_its_target_changes(void **state)
{
    struct guest *g = *state;
    PLACE(g, CODE_AT, "\xeb\x00\xb0\x11"); /* jmp +0; mov al, 0x11 */
    run_often(g);
    struct translation *to = translation_at(g, CODE_AT + 2);
    struct link *link = to->incoming;
    if (link == NULL) {
        fail_msg("there is no link");
        return;
    }
    guest_write(g, CODE_AT + 3, "\x22", 1);
    assert_null(to->incoming);
    assert_null(link->to);
    assert_ptr_equal(led_to(g, link->site), stub_of(g, link));
    run_often(g);
    assert_int_equal(g->cpu->gpr[GPR_RAX], 0x22);
    assert_ptr_equal(link->to, translation_at(g, CODE_AT + 2));
    assert_ptr_not_equal(link->to, to);
}

static uint64_t jump_with_carry(struct guest *g)
{
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    g->cpu->gpr[GPR_RSI] = CODE_AT + 0x100;
    g->cpu->gpr[GPR_RAX] = 1;
    g->cpu->gpr[GPR_RCX] = 2;
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    return g->cpu->gpr[GPR_RAX];
}

/* The old code overwrote them; the new one reads them. */
static void flags_survive_a_change_of_the_code_they_go_to(void **state)
{
    struct guest *g = *state;
    PLACE(g, CODE_AT + 0x100, "\x01\xc8");             /* add eax, ecx */
    PLACE(g, CODE_AT, "\xf9\x48\x8b\x13\xff\xe6\x90"); /* stc; mov rdx, [rbx]; jmp rsi */
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(jump_with_carry(g), 3);
    guest_write(g, CODE_AT + 0x100, "\x11", 1); /* adc eax, ecx */
    assert_int_equal(jump_with_carry(g), 4);
}

/* Whoever still holds its address, in cpu->jump, is sent away. */
static void door_of_what_changed_is_closed(void **state)
{
    struct guest *g = *state;
    static const uint8_t nop[] = {0x0f, 0x1f, 0x44, 0x00, 0x00};
    PLACE(g, CODE_AT, "\xb0\x11"); /* mov al, 0x11 */
    run_often(g);
    const struct translation *made = translation_at(g, CODE_AT);
    assert_int_equal((uintptr_t)made->door % 8, 0);
    assert_memory_equal(made->door, nop, sizeof(nop));
    uint8_t behind[3];
    memcpy(behind, made->door + sizeof(nop), sizeof(behind));
    guest_write(g, CODE_AT + 1, "\x22", 1);
    assert_int_equal(made->door[0], 0xe9);
    assert_ptr_equal(led_to(g, made->door + 1),
                     translator_of(g)->executable + (made->leave - translator_of(g)->writable));
    assert_memory_equal(behind, made->door + sizeof(nop), sizeof(behind));
}

/* ---- whose is a host address? ---- */

static void expect_instruction(const struct guest *g, const struct translation *made, unsigned i)
{
    uint64_t stub = 0;
    for (uint32_t at = made->op_start[i]; at < made->op_start[i + 1]; at++) {
        bool found = translator_contains(translator_of(g), (uint64_t)(made->base + at), &stub);
        assert_true(found == (made->op_stub[i] != 0));
        if (found)
            assert_int_equal(stub, (uint64_t)(made->base + made->op_stub[i]));
    }
}

static void addresses_inside_of_an_instruction_lead_to_its_stub(void **state)
{
    struct guest *g = *state;
    /* mov eax, ecx; movaps xmm0, [rbx]; div ecx; mov rcx, [rsi]; addps xmm0, xmm1 */
    PLACE(g, CODE_AT, "\x89\xc8\x0f\x28\x03\xf7\xf1\x48\x8b\x0e\x0f\x58\xc1");
    g->cpu->gpr[GPR_RBX] = g->cpu->gpr[GPR_RSI] = DATA_AT;
    for (unsigned i = 0; i < RUNS; i++) {
        g->cpu->gpr[GPR_RCX] = 1;
        guest_start(g, CODE_AT);
        assert_int_equal(guest_run_to_port(g), PORT_DONE);
    }
    const struct translation *made = translation_at(g, CODE_AT);
    assert_int_equal(made->op_stub[0], 0);
    for (unsigned i = 1; i < 5; i++)
        assert_int_not_equal(made->op_stub[i], 0);
    for (unsigned i = 0; i < 5; i++)
        expect_instruction(g, made, i);
}

static void other_addresses_belong_to_nobody(void **state)
{
    struct guest *g = *state;
    uint64_t stub;
    PLACE(g, CODE_AT, "\x48\x8b\x0b\xeb\x00\x90"); /* mov rcx, [rbx]; jmp +0; nop */
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    run_often(g);
    const struct translator *translator = translator_of(g);
    const struct translation *made = translation_at(g, CODE_AT);
    for (uint32_t at = 0; at < made->op_start[0]; at++)
        assert_false(translator_contains(translator_of(g), (uint64_t)(made->base + at), &stub));
    for (uint32_t at = made->op_start[made->block->count]; at < made->length; at++)
        assert_false(translator_contains(translator_of(g), (uint64_t)(made->base + at), &stub));
    for (size_t at = 0; at < translator->routines_end; at++)
        assert_false(
            translator_contains(translator, (uint64_t)(translator->executable + at), &stub));
    uint64_t outside[] = {0,
                          UINT64_MAX,
                          (uint64_t)&translator_contains,
                          (uint64_t)g->ram,
                          (uint64_t)translator->executable - 1,
                          (uint64_t)translator->executable + translator->used,
                          (uint64_t)translator->executable + translator->size,
                          (uint64_t)(translator->writable +
                                     (made->base + made->op_start[0] - translator->executable))};
    for (unsigned i = 0; i < sizeof(outside) / sizeof(outside[0]); i++)
        assert_false(translator_contains(translator, outside[i], &stub));
}

/* ---- an arena that is emptied ---- */

static void exhaust(struct guest *g)
{
    (void)pthread_mutex_lock(&g->soft->code->lock);
    code_arena_exhaust(g->soft->code);
    (void)pthread_mutex_unlock(&g->soft->code->lock);
}

static void full_arena_forgets_all_translations(void **state)
{
    struct guest *g = *state;
    struct translator *translator = translator_of(g);
    uint64_t stub;
    PLACE(g, CODE_AT, "\xff\xd3\x48\x8b\x0a"); /* call rbx; mov rcx, [rdx] */
    PLACE(g, CODE_AT + 0x2000, "\x90");
    guest_write(g, DATA_AT, "\xb0\x11\xc3", 3); /* mov al, 0x11; ret */
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    g->cpu->gpr[GPR_RDX] = DATA_AT;
    run_often(g);
    const struct translation *made = translation_at(g, CODE_AT + 2);
    const uint8_t *at = made->base + made->op_start[0];
    assert_true(translator_contains(translator_of(g), (uint64_t)at, &stub));
    exhaust(g);
    guest_start(g, CODE_AT + 0x2000); /* has to be built */
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    assert_true(atomic_load(&translator->made_count) <= 1);
    assert_false(translator_contains(translator_of(g), (uint64_t)at, &stub));
    assert_null(code_lookup(g->soft->code, DATA_AT, DATA_AT, g->cpu->mode));
    guest_write(g, DATA_AT + 1, "\x22", 1);
    run_often(g);
    assert_int_equal(g->cpu->gpr[GPR_RAX], 0x22);
}

static void reset_keeps_the_routines(void **state)
{
    struct guest *g = *state;
    struct translator *translator = translator_of(g);
    PLACE(g, CODE_AT, "\x90");
    run_often(g);
    assert_true(translator->used > translator->routines_end);
    assert_int_equal(atomic_load(&translator->made_count), 1);
    translator_reset(translator, false);
    assert_int_equal(translator->used, translator->routines_end);
    assert_int_equal(atomic_load(&translator->made_count), 0);
}

/* ---- memory ---- */

/* Mappings of the code of translations: how many may be written, and how many run. */
struct mappings {
    unsigned writable, executable;
};

static struct mappings count_mappings(void)
{
    struct mappings found = {0};
    char line[512];
    char rights[5];
    FILE *maps = fopen("/proc/self/maps", "re");
    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps) != NULL) {
        if (sscanf(line, "%*s %4s", rights) != 1)
            continue;
        assert_false(rights[1] == 'w' && rights[2] == 'x');
        if (strstr(line, "partita-translations") == NULL)
            continue;
        found.writable += rights[1] == 'w';
        found.executable += rights[2] == 'x';
    }
    (void)fclose(maps);
    return found;
}

static void code_is_never_writable_where_it_runs(void **state)
{
    struct guest *g = *state;
    PLACE(g, CODE_AT, "\x90");
    run_often(g);
    struct mappings found = count_mappings();
    assert_int_equal(found.writable, 1);
    assert_int_equal(found.executable, 1);
    const struct translator *translator = translator_of(g);
    assert_ptr_not_equal(translator->writable, translator->executable);
    assert_memory_equal(translator->writable, translator->executable, translator->used);
}

static void interpreting_machine_has_no_translator(void **state)
{
    (void)state;
    struct guest *g = guest_create_with(1, ENGINE_TRANSLATE_NEVER);
    assert_null(translator_of(g));
    PLACE(g, CODE_AT, "\x90");
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    assert_int_equal(count_mappings().executable, 0);
    guest_destroy(g);
}

static struct soft_partition partition;
static struct code_cache cache = {.host_size = 8 << 20, .partition = &partition};

static void expect_no_creation(int resource, rlim_t limit)
{
    struct rlimit before;
    assert_int_equal(getrlimit(resource, &before), 0);
    struct rlimit small = {.rlim_cur = limit, .rlim_max = before.rlim_max};
    struct translator *translator = NULL;
    assert_int_equal(setrlimit(resource, &small), 0);
    int error = translator_create(&cache, &translator);
    assert_int_equal(setrlimit(resource, &before), 0);
    assert_true(error < 0);
    assert_null(translator);
    assert_int_equal(count_mappings().writable, 0);
}

static void creation_that_fails_leaves_nothing(void **state)
{
    (void)state;
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    expect_no_creation(RLIMIT_NOFILE, 0);
    expect_no_creation(RLIMIT_FSIZE, 4096);
    (void)signal(SIGXFSZ, before);
    translator_destroy(NULL);
}

static void translators_live_side_by_side(void **state)
{
    (void)state;
    enum { MANY = 100 };
    static struct translator *made[MANY];
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(translator_create(&cache, &made[i]), 0);
    assert_int_equal(count_mappings().executable, MANY);
    for (unsigned i = 0; i < MANY; i++)
        translator_destroy(made[i]);
    assert_int_equal(count_mappings().executable, 0);
}

/* So a fault never looks into what another thread may be destroying. */
static void code_is_a_threads_own_only_while_it_is_in_it(void **state)
{
    struct guest *g = *state;
    uint64_t stub;
    PLACE(g, CODE_AT, "\xf7\xf1"); /* div ecx */
    g->cpu->gpr[GPR_RCX] = 1;
    run_often(g);
    assert_null(translated_by);
    const struct translation *made = translation_at(g, CODE_AT);
    uint64_t at = (uint64_t)(made->base + made->op_start[0]);
    assert_true(translator_contains(translator_of(g), at, &stub));
    assert_false(translator_contains(translated_by, at, &stub));
    g->cpu->gpr[GPR_RCX] = 0; /* a signal, which finds the way on */
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run_to_port(g), VECTOR_DE);
    assert_null(translated_by);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup_translated, guest_teardown)

int main(void)
{
    if (!translator_is_possible()) {
        print_message("1..0 # SKIP this host cannot run translations\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        TEST(jump_inside_a_page_becomes_a_link),
        TEST(link_backward_leads_to_a_poll),
        TEST(jump_to_another_page_is_never_a_link),
        TEST(link_is_undone_when_its_target_changes),
        TEST(door_of_what_changed_is_closed),
        TEST(flags_survive_a_change_of_the_code_they_go_to),
        TEST(addresses_inside_of_an_instruction_lead_to_its_stub),
        TEST(other_addresses_belong_to_nobody),
        TEST(full_arena_forgets_all_translations),
        TEST(reset_keeps_the_routines),
        TEST(code_is_never_writable_where_it_runs),
        cmocka_unit_test(interpreting_machine_has_no_translator),
        cmocka_unit_test(creation_that_fails_leaves_nothing),
        cmocka_unit_test(translators_live_side_by_side),
        TEST(code_is_a_threads_own_only_while_it_is_in_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
