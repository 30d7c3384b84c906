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

/* Fill `reason` (may be NULL) and return `error`, so that refusing is one statement. */
int reason_set(struct reason *reason, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
