/*
 * Why a call failed, as one line for a person: "vmlinuz: not a bzImage (no HdrS at 0x202)".
 *
 * Library folders return a negative errno and, where a number would not tell a user what to mend,
 * also fill a reason. They never print; the program prints it once. The line has no newline and no
 * full stop.
 */
#ifndef BASE_REASON_H
#define BASE_REASON_H

struct reason {
    char text[256];
};

/* Fill `reason`, which may be NULL. */
void reason_fill(struct reason *reason, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static inline int reason_error(int error)
{
    return error;
}

/*
 * int reason_set(struct reason *reason, int error, const char *format, ...): fill `reason` and
 * return `error`, so that refusing is one statement. A macro, because the compiler must see that an
 * error comes out: it would warn of outputs that are left unset otherwise.
 */
#define reason_set(reason, error, ...) (reason_fill(reason, __VA_ARGS__), reason_error(error))

#endif
