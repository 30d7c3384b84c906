/*
 * A second implementation of disk.h's requests, for tests: a flat array. Requests end at once or,
 * while `late`, when the test says so, in any order. A request that disk.h forbids aborts.
 */
#ifndef TESTS_HARNESS_FAKE_DISK_H
#define TESTS_HARNESS_FAKE_DISK_H

#include "disk/disk.h"

enum { FAKE_DISK_PENDING = 2048 };

struct disk {
    struct disk_geometry geometry;
    uint8_t *bytes; /* `capacity` of them */
    bool late;
    bool keep_unmapped;             /* unmap only what is whole in pages of 4096, as a format may */
    int fail[DISK_UNMAP + 1];       /* by disk_op: the error of the next request, once */
    unsigned count[DISK_UNMAP + 1]; /* requests that ended well */
    bool unflushed;                 /* something changed after the last flush began */
    struct disk_request *pending[FAKE_DISK_PENDING];
    unsigned pending_count;
};

struct disk *fake_disk_create(uint64_t capacity, uint32_t sector);
void fake_disk_destroy(struct disk *disk);
/* End the pending request of this number; it does its work now. */
void fake_disk_end(struct disk *disk, unsigned index);
/* End all, oldest first, and those that follow. */
void fake_disk_end_all(struct disk *disk);

#endif
