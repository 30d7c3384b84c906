/*
 * Where two results of one case differ.
 */
#ifndef DIFFERENTIAL_COMPARE_H
#define DIFFERENTIAL_COMPARE_H

#include "build.h"
#include "layout.h"

struct difference {
    bool fails;         /* defined state differs */
    uint64_t undefined; /* flags that differ where the manual leaves them undefined */
    unsigned count;
    char text[24][120]; /* one line a field */
};

/* What an instruction unknown to the guest must do: #UD, and nothing else. */
void compare_expect_undefined_opcode(const struct build *build, const uint8_t *data,
                                     struct diff_result *ret);

void compare_results(const struct build *build, const struct diff_result *native,
                     const struct diff_result *guest, bool translated, struct difference *ret);

/*
 * open.c: whether the results may differ as a whole because the manual lets processors raise either
 * of two faults here; and whether the address of a page fault may.
 */
bool open_to_processors(const struct build *build, const struct diff_result *native,
                        const struct diff_result *guest);
bool open_address(const struct build *build, const struct diff_result *native,
                  const struct diff_result *guest);

/* Instructions for which one of these may be true: not to be made part of a sequence. */
bool open_within_sequence(const struct build *build);

/* flags.c: flags of RFLAGS that the manual leaves undefined after this case. */
uint64_t flags_undefined(const struct build *build);
/* The same after some case of the mnemonic. */
uint64_t flags_ever_undefined(ZydisMnemonic mnemonic);

#endif
