/* The host timer behind the APIC timer: it wakes halts and stops loops, on whatever thread. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/soft/lapic_registers.h"
#include "tests/harness/soft_fixture.h"

enum { VECTOR = 0x40, PATIENCE_MS = 10000 };

/*
 * rdtsc; shl rdx, 32; add rax, rdx; add rax, rbx; mov rdx, rax; shr rdx, 32; mov ecx, 0x6e0; wrmsr;
 * sti
 */
#define ARM                                                                                \
    "\x0f\x31\x48\xc1\xe2\x20\x48\x01\xd0\x48\x01\xd8\x48\x89\xc2\x48\xc1\xea\x20\xb9\xe0" \
    "\x06\x00\x00\x0f\x30\xfb"
#define HALT "\xf4"     /* hlt */
#define SPIN "\xeb\xfe" /* jmp . */

struct watch {
    struct engine_vcpu *vcpu;
    _Atomic bool over;
};

/* Ends a run that would wait for ever. */
static void *lose_patience(void *argument)
{
    struct watch *watch = argument;
    for (unsigned ms = 0; ms < PATIENCE_MS && !atomic_load(&watch->over); ms += 10)
        (void)usleep(10000);
    soft_engine.kick(watch->vcpu);
    return NULL;
}

static int run_patiently(struct guest *g)
{
    struct watch watch = {.vcpu = g->vcpu};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, lose_patience, &watch), 0);
    int port = guest_run_to_port(g);
    atomic_store(&watch.over, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)atomic_fetch_and(&g->cpu->pending, ~(uint32_t)PENDING_KICK);
    return port;
}

static void use_deadline(struct guest *g, unsigned milliseconds)
{
    atomic_store(&g->cpu->lapic.svr, SVR_ENABLED | SVR_VECTOR);
    g->cpu->lapic.lvt[LVT_TIMER] = LVT_TSC_DEADLINE | VECTOR;
    g->cpu->gpr[GPR_RBX] = g->soft->tsc_hz / 1000 * milliseconds;
    g->cpu->flags &= ~(uint64_t)FLAG_IF;
}

static void deadline_wakes_a_halt(void **state)
{
    struct guest *g = *state;
    use_deadline(g, 5);
    PLACE(g, CODE_AT, ARM HALT);
    guest_start(g, CODE_AT);
    uint64_t before = guest_tsc(g->cpu);
    assert_int_equal(run_patiently(g), VECTOR);
    assert_true(guest_tsc(g->cpu) - before >= g->cpu->gpr[GPR_RBX]);
    assert_int_equal(guest_frame(g, 0), CODE_AT + sizeof(ARM HALT) - 1);
}

static void deadline_interrupts_a_loop(void **state)
{
    struct guest *g = *state;
    use_deadline(g, 5);
    PLACE(g, CODE_AT, ARM SPIN);
    guest_start(g, CODE_AT);
    assert_int_equal(run_patiently(g), VECTOR);
    assert_int_equal(guest_frame(g, 0), CODE_AT + sizeof(ARM) - 1);
}

static void deadline_of_the_past_comes_at_once(void **state)
{
    struct guest *g = *state;
    use_deadline(g, 0);
    PLACE(g, CODE_AT, ARM HALT);
    guest_start(g, CODE_AT);
    assert_int_equal(run_patiently(g), VECTOR);
}

static void *run_a_moment(void *argument)
{
    struct guest *g = argument;
    soft_engine.kick(g->vcpu);
    (void)guest_run(g);
    return NULL;
}

static void timer_follows_the_processor_to_another_thread_and_back(void **state)
{
    struct guest *g = *state;
    PLACE(g, CODE_AT, ARM HALT);
    for (unsigned i = 0; i < 2; i++) {
        use_deadline(g, 20);
        guest_start(g, CODE_AT);
        soft_engine.kick(g->vcpu);
        assert_int_equal(guest_run(g), ENGINE_EXIT_KICKED);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, run_a_moment, g), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(g->exit.kind, ENGINE_EXIT_KICKED);
        assert_int_equal(run_patiently(g), VECTOR);
        g->cpu->lapic.isr[VECTOR / 32] = 0;
    }
}

struct runner {
    struct guest *guest;
    pthread_barrier_t ran, ended;
};

static void *run_and_wait(void *argument)
{
    struct runner *runner = argument;
    (void)run_a_moment(runner->guest);
    (void)pthread_barrier_wait(&runner->ran);
    (void)pthread_barrier_wait(&runner->ended);
    return NULL;
}

/* A reset destroys processors on one thread while signals of their timers are on the way to others.
 */
static void signal_that_outlives_its_processor_is_ignored(void **state)
{
    (void)state;
    pthread_t thread;
    struct runner runner = {.guest = guest_create(1)};
    PLACE(runner.guest, CODE_AT, SPIN);
    guest_start(runner.guest, CODE_AT);
    assert_int_equal(pthread_barrier_init(&runner.ran, NULL, 2), 0);
    assert_int_equal(pthread_barrier_init(&runner.ended, NULL, 2), 0);
    assert_int_equal(pthread_create(&thread, NULL, run_and_wait, &runner), 0);
    (void)pthread_barrier_wait(&runner.ran);
    guest_destroy(runner.guest);
    assert_int_equal(pthread_kill(thread, SIGRTMIN), 0);
    (void)pthread_barrier_wait(&runner.ended);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)pthread_barrier_destroy(&runner.ran);
    (void)pthread_barrier_destroy(&runner.ended);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(deadline_wakes_a_halt),
        TEST(deadline_interrupts_a_loop),
        TEST(deadline_of_the_past_comes_at_once),
        TEST(timer_follows_the_processor_to_another_thread_and_back),
        cmocka_unit_test(signal_that_outlives_its_processor_is_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
