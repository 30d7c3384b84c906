/* What the translator plans for code at CODE_AT. To be included after <cmocka.h>. */
#ifndef TESTS_HARNESS_SOFT_PLAN_H
#define TESTS_HARNESS_SOFT_PLAN_H

#include "engine/soft/translate_private.h"
#include "tests/harness/soft_fixture.h"

/* The code at CODE_AT, its `out PORT_DONE, al` and an INT3 as one block; `work` is as planned. */
static inline void plan_code(struct guest *g, const void *bytes, size_t length, struct work *work)
{
    guest_place(g, CODE_AT, bytes, length);
    guest_write(g, CODE_AT + length + 2, "\xcc", 1);
    guest_start(g, CODE_AT);
    *work = (struct work){.translator = g->soft->code->translator};
    assert_non_null(work->translator);
    assert_int_equal(code_find(g->cpu, g->cpu->mode, &work->block), 0);
    plan_block(work);
}
#define PLAN(guest, bytes, work) plan_code(guest, "" bytes, sizeof(bytes) - 1, work)

#endif
