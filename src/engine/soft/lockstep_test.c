/* Both runs of a block are compared in all that they leave; a wrong translation is told. */
#include "engine/soft/lockstep.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/soft/lockstep_private.h"
#include "engine/soft/translate_private.h"
#include "tests/harness/soft_fixture.h"

/* mov eax, 0x12345678; add [rbx], rax; push rax; pop rcx; cld (interpreted); add [rbx], rcx */
#define CODE "\xb8\x78\x56\x34\x12\x48\x01\x03\x50\x59\xfc\x48\x01\x0b"

static int setup(void **state)
{
    *state = guest_create_with(1, ENGINE_TRANSLATE_LOCKSTEP);
    return 0;
}

static int teardown(void **state)
{
    guest_destroy(*state);
    return 0;
}

/* Once its pages are known, all of it is translated. */
static int run(struct guest *g)
{
    int outcome = PORT_DONE;
    for (unsigned i = 0; i < 3 && outcome == PORT_DONE; i++) {
        uint64_t zero = 0;
        guest_write(g, DATA_AT, &zero, sizeof(zero));
        g->cpu->gpr[GPR_RBX] = DATA_AT;
        outcome = TRY(g, CODE);
    }
    return outcome;
}

static void blocks_are_compared_and_run_once(void **state)
{
    struct guest *g = *state;
    struct lockstep *lockstep = g->soft->lockstep;
    uint64_t before = lockstep->runs;
    assert_int_equal(run(g), PORT_DONE);
    assert_true(lockstep->runs > before);
    assert_int_equal(lockstep->again, 0);
    assert_int_equal(guest_read32(g, DATA_AT), 2 * 0x12345678);
}

/* Make every translation of the first instruction load another constant. */
static void spoil(struct guest *g)
{
    struct translator *translator = g->soft->code->translator;
    static const uint8_t constant[] = {0xb8, 0x78, 0x56, 0x34, 0x12};
    uint8_t *at = translator->writable;
    const uint8_t *end = at + translator->used;
    unsigned found = 0;
    while ((at = memmem(at, (size_t)(end - at), constant, sizeof(constant))) != NULL) {
        at[1] ^= 1;
        found++;
    }
    assert_true(found > 0);
}

static void wrong_translation_ends_the_process(void **state)
{
    struct guest *g = *state;
    assert_int_equal(run(g), PORT_DONE);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        assert_non_null(freopen("/dev/null", "w", stderr));
        spoil(g);
        guest_start(g, CODE_AT); /* where it already is: putting it there anew would drop it */
        (void)guest_run_to_port(g);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void more_than_one_processor_is_refused(void **state)
{
    struct guest *g = *state;
    struct reason reason;
    struct engine_partition *partition;
    struct engine_config config = {
        .mem = g->mem, .vcpu_count = 2, .translate = ENGINE_TRANSLATE_LOCKSTEP};
    assert_int_equal(soft_engine.partition_create(&config, &partition, &reason), -EINVAL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(blocks_are_compared_and_run_once),
        TEST(wrong_translation_ends_the_process),
        TEST(more_than_one_processor_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
