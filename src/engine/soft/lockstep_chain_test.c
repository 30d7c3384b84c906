/* Chains of translated blocks are interrupted anywhere, and what they were is compared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/soft/lockstep.h"
#include "engine/soft/lockstep_private.h"
#include "engine/soft/translate_private.h"
#include "tests/harness/soft_fixture.h"

static struct lockstep_chain *chain_of(struct guest *g)
{
    return &g->soft->lockstep->chain;
}

static int setup(void **state)
{
    struct guest *g = guest_create_with(1, ENGINE_TRANSLATE_LOCKSTEP);
    *state = g;
    chain_of(g)->random = 7;
    return lockstep_install_trap();
}

static int teardown(void **state)
{
    guest_destroy(*state);
    return 0;
}

/*
 * A loop whose head overwrites flags that come live, with accesses to two pages, a call and a
 * return:
 *
 *     mov ecx, 3000
 * 1:  add rax, rcx;  mov [rbx], rax;  add rdx, [rbx+0x1000];  call 2f;  dec ecx;  jnz 1b
 *     jmp 3f
 * 2:  inc rsi;  ret
 * 3:
 */
#define LOOP                                                                                   \
    "\xb9\xb8\x0b\x00\x00\x48\x01\xc8\x48\x89\x03\x48\x03\x93\x00\x10\x00\x00\xe8\x06\x00\x00" \
    "\x00\xff\xc9\x75\xea\xeb\x04\x48\xff\xc6\xc3"

static int run_loop(struct guest *g)
{
    g->cpu->gpr[GPR_RAX] = g->cpu->gpr[GPR_RDX] = g->cpu->gpr[GPR_RSI] = 0;
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    return TRY(g, LOOP);
}

static void chains_are_interrupted_and_compared(void **state)
{
    struct guest *g = *state;
    const struct lockstep_chain *chain = chain_of(g);
    assert_int_equal(run_loop(g), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RAX], 3000 * 3001 / 2);
    assert_int_equal(g->cpu->gpr[GPR_RSI], 3000);
    assert_true(chain->compared > 10);
    assert_true(chain->instructions > 5 * chain->compared);
    assert_true(chain->stopped > 0);
    assert_true(chain->notes > 0);
    assert_int_equal(chain->uncompared, 0);
    assert_int_equal(g->soft->lockstep->again, 0);
}

static void same_seed_makes_the_same_chains(void **state)
{
    struct guest *g = *state;
    struct lockstep_chain first;
    assert_int_equal(run_loop(g), PORT_DONE);
    first = *chain_of(g);
    struct guest *other = guest_create_with(1, ENGINE_TRANSLATE_LOCKSTEP);
    chain_of(other)->random = 7;
    assert_int_equal(run_loop(other), PORT_DONE);
    assert_int_equal(chain_of(other)->compared, first.compared);
    assert_int_equal(chain_of(other)->random, first.random);
    guest_destroy(other);
}

static void faults_are_compared(void **state)
{
    struct guest *g = *state;
    struct lockstep_chain *chain = chain_of(g);
    /* xor ecx, ecx; mov eax, 1; xor edx, edx; jmp +0; div ecx */
    for (unsigned i = 0; i < 20; i++) {
        chain->skip = 0;
        assert_int_equal(TRY(g, "\x31\xc9\xb8\x01\x00\x00\x00\x31\xd2\xeb\x00\xf7\xf1"), VECTOR_DE);
    }
    assert_true(chain->faults > 0);
}

/* What a block's interpreted instruction stops is found again, though it stores into code. */
static void changed_code_is_run(void **state)
{
    struct guest *g = *state;
    for (unsigned i = 0; i < 20; i++) {
        chain_of(g)->skip = 0;
        g->cpu->gpr[GPR_RBX] = CODE_AT + 8;
        /* mov eax, [rbx]; mov byte [rbx], 0x22; nop; mov al, 0x11 */
        assert_int_equal(TRY(g, "\x8b\x03\xc6\x03\x22\x90\x90\xb0\x11"), PORT_DONE);
        assert_int_equal(g->cpu->gpr[GPR_RAX] & 0xff, 0x22);
    }
}

/* Make `inc rsi` of every translation a `dec rsi`. */
static void spoil(struct guest *g)
{
    struct translator *translator = g->soft->code->translator;
    static const uint8_t inc[] = {0x48, 0xff, 0xc6};
    uint8_t *at = translator->writable;
    const uint8_t *end = at + translator->used;
    while ((at = memmem(at, (size_t)(end - at), inc, sizeof(inc))) != NULL)
        at[2] = 0xce;
}

static void wrong_translation_ends_the_process(void **state)
{
    struct guest *g = *state;
    assert_int_equal(run_loop(g), PORT_DONE);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        assert_non_null(freopen("/dev/null", "w", stderr));
        spoil(g);
        chain_of(g)->compared = 0; /* chains are close together again */
        chain_of(g)->skip = 0;
        g->cpu->gpr[GPR_RBX] = DATA_AT;
        guest_start(g, CODE_AT); /* where it already is: putting it there anew would drop it */
        (void)guest_run_to_port(g);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(chains_are_interrupted_and_compared),
        TEST(same_seed_makes_the_same_chains),
        TEST(faults_are_compared),
        TEST(changed_code_is_run),
        TEST(wrong_translation_ends_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
