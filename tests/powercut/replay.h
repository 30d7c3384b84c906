/*
 * What a power cut leaves: of each file what was flushed, and of the changes since then any subset,
 * each write torn between its sectors. A change of the size is durable with the next flush, as
 * fdatasync() has it.
 */
#ifndef TESTS_POWERCUT_REPLAY_H
#define TESTS_POWERCUT_REPLAY_H

#include "cut_host.h"

struct replay {
    const struct cut_host *recorded;
    size_t at; /* events before are done */
    struct content durable[CUT_FILES];
    size_t *pending; /* events since their file's last flush */
    size_t pending_count, pending_room;
    unsigned forget_flush; /* every so manieth flush does nothing: a test of the test; 0: none */
    unsigned flushes;
};

enum replay_loss {
    REPLAY_LOSE_NOTHING, /* all that was written before the cut is there */
    REPLAY_LOSE_ALL,     /* what was not flushed is not */
    REPLAY_LOSE_SOME,    /* any changes, whole */
    REPLAY_LOSE_ONE,     /* all but any one of the changes */
    REPLAY_KEEP_ONE,     /* any one of them */
    REPLAY_TEAR,         /* and any sectors of 512 bytes of the writes that are left */
    REPLAY_TEAR_COARSE,  /* 4 KiB, as most disks have them */
};

/* From the beginning of what `host` has recorded; `base`: the files as they were, NULL: none. */
void replay_init(struct replay *replay, const struct cut_host *host, const struct cut_host *base);
void replay_release(struct replay *replay);
/* One event further. */
void replay_step(struct replay *replay);
/* The files as a cut here leaves them. */
void replay_cut(const struct replay *replay, enum replay_loss loss, uint64_t *seed,
                struct cut_host *ret);

#endif
