/*
 * Test Anything Protocol over the first serial port, and the end of the machine.
 *
 * A test calls check() for each fact; the plan is printed at the end, so a guest that dies
 * half way leaves no plan and the runner sees it. check() may be called on one CPU at a time.
 */
#ifndef GUEST_TAP_H
#define GUEST_TAP_H

#include "types.h"

struct test_group {
    const char *name; /* "only=NAME" and "without=NAME,NAME" on the command line choose by it */
    void (*run)(void);
};

void serial_start(void);
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* One result line. Returns `good`. */
bool check(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* check() that both are equal; a difference is printed. */
bool check_equal(uint64_t is, uint64_t should, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* One result line that says that the fact could not be tested. */
void skip(const char *what, const char *why);

/* A remark, for the human. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Ends the machine: success when no check failed. */
void finish(void) __attribute__((noreturn));

/* Ends the machine as failed, with a reason. */
void bail_out(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

void run_groups(const struct test_group *groups, size_t count);

/* Command line: "name=value". */
void command_line_start(const char *line);
word option_number(const char *name, word otherwise);
bool option_lists(const char *name, const char *word_in_list);
bool option_given(const char *name);

/* Every image has this; it runs on the boot CPU with traps set up. */
void test_main(void);

#endif
