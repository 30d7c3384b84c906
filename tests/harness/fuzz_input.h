/* Bytes of a fuzzer that choose actions: taken from the front, zero when they are used up. */
#ifndef TESTS_HARNESS_FUZZ_INPUT_H
#define TESTS_HARNESS_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>

struct fuzz_input {
    const uint8_t *at;
    size_t left;
};

static inline uint64_t fuzz_take(struct fuzz_input *in, unsigned count)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < count && in->left > 0; i++, in->at++, in->left--)
        value = value << 8 | *in->at;
    return value;
}

static inline void fuzz_take_bytes(struct fuzz_input *in, uint8_t *ret, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ret[i] = (uint8_t)fuzz_take(in, 1);
}

#endif
