/*
 * Invariant: hostile bytes never change a field after an error of its section, and what loads
 * without error is the same bytes when it is saved, loaded and saved again.
 *
 * Odd inputs are given right checksums first, so that damage gets beyond them.
 */
#include "state/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "state/sample.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { SECTIONS = 3 };
static const char *const section_names[SECTIONS] = {"alpha", "beta-2", "c"};

/* Once a section has failed, its fields stay as they are. */
static void check_that_errors_stick(struct state_visitor *v, const char *section)
{
    static const struct sample zeroes;
    struct sample s = zeroes;
    state_begin(v, section, 1);
    state_fail(v, -EPERM);
    state_u8(v, "byte", &s.byte);
    state_u16(v, "word", &s.word);
    state_u32(v, "dword", &s.dword);
    state_u64(v, "qword", &s.qword);
    state_bool(v, "flag", &s.flag);
    state_bytes(v, "bytes", s.bytes, sizeof(s.bytes));
    if (state_end(v) == 0 || !same_sample(&s, &zeroes))
        abort();
}

static struct state_visitor *save(struct sample samples[SECTIONS])
{
    struct state_visitor *v = NULL;
    if (state_save_create(&v) != 0)
        abort();
    for (unsigned i = 0; i < SECTIONS; i++) {
        if (visit_sample(v, section_names[i], &samples[i]) != 0)
            abort();
    }
    return v;
}

static void check_round_trip(struct sample samples[SECTIONS])
{
    size_t length;
    size_t again_length;
    struct state_visitor *first = save(samples);
    const uint8_t *bytes = state_saved(first, &length);
    struct state_visitor *load = NULL;
    if (state_load_create(bytes, length, &load) != 0)
        abort();
    struct sample loaded[SECTIONS] = {0};
    for (unsigned i = 0; i < SECTIONS; i++) {
        if (visit_sample(load, section_names[i], &loaded[i]) != 0)
            abort();
    }
    struct state_visitor *second = save(loaded);
    const uint8_t *again = state_saved(second, &again_length);
    if (length != again_length || memcmp(bytes, again, length) != 0)
        abort();
    state_destroy(second);
    state_destroy(load);
    state_destroy(first);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    if (length == 0)
        return 0;
    bool mend = (bytes[0] & 1) != 0;
    uint8_t *copy = malloc(length);
    if (copy == NULL)
        abort();
    length--;
    memcpy(copy, bytes + 1, length);
    if (mend)
        mend_checksums(copy, length);
    struct state_visitor *v = NULL;
    if (state_load_create(copy, length, &v) == 0) {
        struct sample samples[SECTIONS] = {0};
        for (unsigned i = 0; i < SECTIONS; i++) {
            (void)visit_sample(v, section_names[i], &samples[i]);
            check_that_errors_stick(v, section_names[i]);
        }
        check_round_trip(samples);
        state_destroy(v);
    }
    free(copy);
    return 0;
}
