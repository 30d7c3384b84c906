/*
 * A small format of dynamic images for tests of the test: right, and with one mistake each that a
 * power cut brings to light.
 *
 *   0 and 4 KiB: the table, in turn; the one with the higher sequence and a right checksum counts
 *   64 KiB on: blocks of 64 KiB
 */
#ifndef TESTS_POWERCUT_TOY_H
#define TESTS_POWERCUT_TOY_H

#include "disk/disk.h"

enum toy_fault {
    TOY_NONE,
    TOY_RIGHT,
    TOY_NO_FLUSH_BEFORE, /* the table may be there before the data that it names */
    TOY_NO_FLUSH_BEHIND, /* a flush ends before its table is durable */
    TOY_REUSES_EARLY,    /* freed room is given away before the table says that it is free */
    TOY_TEARS_TABLE,     /* there is one, written in its place */
    TOY_FORGETS_OLD,     /* the room that is taken still holds what was there before */
    TOY_TEARS_RECOVERY,  /* opening writes over the only table that counts */
    TOY_FAULTS,
};

const char *toy_name(enum toy_fault fault);
int toy_create(struct disk_host *host, const char *path, uint64_t capacity);
int toy_open(struct disk_host *host, const char *path, unsigned flags, enum toy_fault fault,
             struct disk **ret);

#endif
