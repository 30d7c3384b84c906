/* What is told of translations to who watches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

struct watched {
    struct engine_code code[16];
    unsigned count, emptied;
};

static void note_code(void *owner, const struct engine_code *code)
{
    struct watched *watched = owner;
    assert_true(watched->count < sizeof(watched->code) / sizeof(watched->code[0]));
    watched->code[watched->count++] = *code;
}

static void note_emptied(void *owner)
{
    struct watched *watched = owner;
    watched->emptied++;
    watched->count = 0;
}

static struct engine_code_watch watch_into(struct watched *watched)
{
    return (struct engine_code_watch){.owner = watched, .made = note_code, .emptied = note_emptied};
}

/* What was told of the code at a host address. */
static const struct engine_code *told_of(const struct watched *watched, const uint8_t *at)
{
    const struct engine_code *found = NULL;
    for (unsigned i = 0; i < watched->count; i++) {
        if ((uint64_t)at - watched->code[i].host < watched->code[i].length) {
            assert_null(found); /* they do not overlap */
            found = &watched->code[i];
        }
    }
    return found;
}

static void watcher_is_told_of_all_code(void **state)
{
    struct guest *g = *state;
    struct watched watched = {0};
    g->soft->config.code_watch = watch_into(&watched);
    g->cpu->lstar = 0x1234;
    PLACE(g, CODE_AT, "\xe9\xfb\x0f\x00\x00"); /* jmp to the next page */
    PLACE(g, CODE_AT + 0x1000, "\x90");
    run_often(g);
    const struct translator *translator = translator_of(g);
    const struct engine_code *first = told_of(&watched, translation_at(g, CODE_AT)->entry);
    const struct engine_code *second =
        told_of(&watched, translation_at(g, CODE_AT + 0x1000)->entry);
    const struct engine_code *far = told_of(
        &watched, translator_executable(translator, translator->writable + translator->used - 1));
    assert_non_null(first);
    assert_non_null(second);
    assert_non_null(far); /* what is written last, too */
    assert_int_equal(first->rip, CODE_AT);
    assert_int_equal(first->lstar, 0x1234);
    assert_false(first->user || first->shared);
    assert_int_equal(first->length, translation_at(g, CODE_AT)->length);
    assert_int_equal(second->rip, CODE_AT + 0x1000);
    assert_int_equal(watched.emptied, 0);
}

static void watcher_is_told_whose_code_it_is(void **state)
{
    struct guest *g = *state;
    struct watched watched = {0};
    g->soft->config.code_watch = watch_into(&watched);
    guest_use_user(g, 0);
    guest_write(g, CODE_AT, "\xff\xc0\xeb\xfc", 4); /* inc eax; jmp back */
    const struct translation *made = NULL;
    for (unsigned i = 0; i < RUNS && made == NULL; i++) {
        struct block *block = NULL;
        g->cpu->rip = CODE_AT;
        assert_int_equal(code_find(g->cpu, g->cpu->mode, &block), STEP_NEXT);
        translator_add(g->cpu, block);
        made = atomic_load(&block->translation);
    }
    assert_non_null(made);
    assert_int_equal(watched.count, 1);
    assert_true(watched.code[0].user);
}

static void watcher_is_told_that_all_was_forgotten(void **state)
{
    struct guest *g = *state;
    struct watched watched = {0};
    PLACE(g, CODE_AT, "\x90");
    run_often(g);
    g->soft->config.code_watch = watch_into(&watched);
    struct translator *translator = translator_of(g);
    translator_reset(translator, false);
    assert_int_equal(watched.emptied, 1);
    assert_int_equal(watched.count, 1); /* the routines stay */
    assert_true(watched.code[0].shared);
    assert_int_equal(watched.code[0].host, (uint64_t)translator->executable);
    assert_int_equal(watched.code[0].length, translator->routines_end);
}

/* The line of /proc/self/maps of the mapping that an address lies in. */
static void mapping_of(const void *address, char ret[512])
{
    uintptr_t from = 0;
    uintptr_t to = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    assert_non_null(maps);
    do {
        char *at = NULL;
        assert_non_null(fgets(ret, 512, maps));
        from = strtoul(ret, &at, 16);
        to = strtoul(at + 1, NULL, 16);
    } while ((uintptr_t)address < from || (uintptr_t)address >= to);
    (void)fclose(maps);
}

/* perf, tools/perf/util/map.c, is_anon_memory(): it asks for names when the file is one of these.
 */
static void watched_code_lies_in_no_file(void **state)
{
    static struct soft_partition partition;
    static struct code_cache cache = {.host_size = 8 << 20, .partition = &partition};
    (void)state;
    struct watched watched = {0};
    struct translator *translator = NULL;
    char line[512];
    partition.config.code_watch = watch_into(&watched);
    assert_int_equal(translator_create(&cache, &translator), 0);
    assert_non_null(told_of(&watched, translator->executable));
    mapping_of(translator->executable, line);
    assert_non_null(strstr(line, " r-xs "));
    assert_non_null(strstr(line, " /dev/zero"));
    mapping_of(translator->writable, line);
    assert_non_null(strstr(line, " rw-s "));
    assert_memory_equal(translator->writable, translator->executable, translator->used);
    translator->writable[translator->size - 1] = 0x5a;
    assert_int_equal(translator->executable[translator->size - 1], 0x5a);
    translator_destroy(translator);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup_translated, guest_teardown)

int main(void)
{
    if (!translator_is_possible()) {
        print_message("1..0 # SKIP this host cannot run translations\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        TEST(watcher_is_told_of_all_code),
        TEST(watcher_is_told_whose_code_it_is),
        TEST(watcher_is_told_that_all_was_forgotten),
        cmocka_unit_test(watched_code_lies_in_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
