/*
 * Two small machines that run the same code: one interprets it, the other translates it. After each
 * run everything a guest can see must be the same in both: registers, flags, segments, vector
 * state, memory with page tables, and how the run ended. To be included after <cmocka.h>.
 *
 * Each scene is run a few times in the same place, so that the TLB and the translations fill up:
 * registers and data are set anew each time. Faults are taken on a stack of their own, so that RSP
 * may hold anything.
 */
#ifndef TESTS_HARNESS_SOFT_PAIR_H
#define TESTS_HARNESS_SOFT_PAIR_H

#include "tests/harness/soft_fixture.h"

enum {
    /* Pages from DATA_AT on are writable and filled with a pattern, the second and third of them
     * swapped; after them lie: */
    PAIR_DATA_PAGES = 4,
    ABSENT_AT = DATA_AT + 0x10000,
    READ_ONLY_AT = DATA_AT + 0x12000,
    ALIAS_AT = DATA_AT + 0x13000, /* the page at DATA_AT once more */
    LAST_AT = DATA_AT + 0x14000,  /* the last page of RAM; what is behind it is no RAM */
    SUPERVISOR_AT = DATA_AT + 0x16000,
    FAULT_STACK_TOP = STACK_TOP - 0x1000,
};
/* Pages at the edges of the canonical halves, with the data pages 2 and 3. */
#define HIGH_START UINT64_C(0xffff800000000000)
#define LOW_END                                                                       \
    UINT64_C(0x0000800000000000) /* not canonical itself; the page in front is mapped \
                                  */
#define TOP_PAGE UINT64_C(0xfffffffffffff000)

struct pair {
    struct guest *plain, *translated;
    struct engine_segment segment[2][CPU_SEGMENTS];
};

enum { PAIR_ANY = -2 }; /* an outcome: both may end as they like, but the same way */

struct scene {
    const char *name;
    const char *code;
    unsigned length;
    uint64_t gpr[GPR_COUNT]; /* 0: a value that tells registers apart; RSP: the stack's top */
    uint64_t flags;
    bool user;
    bool interpreted; /* it cannot be translated */
    /* It faults where the arithmetic flags are about to be overwritten: a translation may have lost
     * them already, and tell others in the frame. */
    bool flags_dead;
    int outcome;                          /* port: PORT_DONE or a vector; -1: another exit */
    void (*prepare)(struct guest *guest); /* before each run */
};

#define CODE(bytes) .code = (bytes), .length = sizeof(bytes) - 1

/* For cmocka. */
int pair_setup(void **state);
int pair_teardown(void **state);

/* Run the scene in both, compare, and expect its outcome. */
void pair_check(struct pair *pair, const struct scene *scene);
void pair_check_all(struct pair *pair, const struct scene *scenes, unsigned count);
#define CHECK_SCENES(pair, scenes) \
    pair_check_all(pair, scenes, sizeof(scenes) / sizeof((scenes)[0]))

#define pair_test(name) cmocka_unit_test_setup_teardown(name, pair_setup, pair_teardown)

/* Bytes of code in both, from which the scenes' code may be reached. */
void pair_write(struct pair *pair, uint64_t at, const void *bytes, size_t length);

/* Is the code at this address translated, in the guest's present mode? */
bool guest_is_translated(const struct guest *guest, uint64_t at);

#endif
