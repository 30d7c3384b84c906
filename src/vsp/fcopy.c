/* Guest file copy (fcopy.h); the guest's side: Linux' hv_fcopy.c, and hv_fcopy_daemon. */
#include "vsp/fcopy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "disk/utf16.h"

/* u32 operation, two GUIDs that nobody uses. */
enum { HEADER = 36 };
enum { OPERATION_START, OPERATION_WRITE, OPERATION_COMPLETE, OPERATION_CANCEL };
enum {
    NAME_BYTES = 520,
    START_NAME = HEADER,
    START_FOLDER = HEADER + NAME_BYTES,
    START_FLAGS = HEADER + 2 * NAME_BYTES,
    START_SIZE = START_FLAGS + 4,
    START_BODY = START_SIZE + 8
};
enum {
    WRITE_OFFSET = HEADER + 4,
    WRITE_SIZE = HEADER + 12,
    WRITE_DATA = HEADER + 16,
    WRITE_BODY = WRITE_DATA + FCOPY_PIECE
};
enum { FLAG_OVERWRITE = 1, FLAG_MAKE_FOLDERS = 2 };

/* The guest's driver gives its daemon thirty seconds. */
#define TIMEOUT_NS (UINT64_C(40) * NS_PER_SECOND)

enum phase {
    IDLE,
    STARTING,
    READING, /* the source is to give the next piece */
    WRITING,
    COMPLETING,
    CANCELLING,
};

struct fcopy {
    struct ic *ic;
    enum phase phase;
    struct fcopy_job job;
    uint64_t done;
    size_t piece; /* of the write that is under way */
    bool cancelled;
    int error; /* why it is cancelled */
    struct reason reason;
    uint8_t body[WRITE_BODY];
};

static void end(struct fcopy *fcopy, int error)
{
    const struct reason reason = fcopy->reason;

    fcopy->phase = IDLE;
    fcopy->job.ended(fcopy->job.owner, error, &reason);
}

/* False: the channel was closed, which has ended the copy. */
static bool ask(struct fcopy *fcopy, enum phase phase, uint32_t operation, size_t length)
{
    fcopy->phase = phase;
    put_le32(fcopy->body, operation);
    return ic_request(fcopy->ic, fcopy->body, length, TIMEOUT_NS) == 0;
}

/*
 * The guest removes the file. Here and at the end the message is only as long as it must be: Linux'
 * driver refuses its daemon what would not fit into a message of a write, its own headers counted.
 */
static void cancel(struct fcopy *fcopy, int error)
{
    fcopy->error = error;
    memset(fcopy->body, 0, sizeof(fcopy->body));
    (void)ask(fcopy, CANCELLING, OPERATION_CANCEL, HEADER);
}

static void complete(struct fcopy *fcopy)
{
    int error = fcopy->job.check(fcopy->job.owner, &fcopy->reason);

    if (error < 0) {
        cancel(fcopy, error);
        return;
    }
    memset(fcopy->body, 0, sizeof(fcopy->body));
    (void)ask(fcopy, COMPLETING, OPERATION_COMPLETE, HEADER);
}

static void write_piece(struct fcopy *fcopy)
{
    uint64_t left = fcopy->job.size - fcopy->done;
    size_t piece = left < FCOPY_PIECE ? (size_t)left : FCOPY_PIECE;

    fcopy->phase = READING;
    if (fcopy->cancelled) {
        reason_fill(&fcopy->reason, "the copy was called off");
        cancel(fcopy, -ECANCELED);
        return;
    }
    if (left == 0) {
        complete(fcopy);
        return;
    }
    memset(fcopy->body, 0, sizeof(fcopy->body));
    int error = fcopy->job.read(fcopy->job.owner, fcopy->done, fcopy->body + WRITE_DATA, piece);
    if (error == -EAGAIN)
        return;
    if (error < 0) {
        reason_fill(&fcopy->reason, "the file cannot be read: error %d", -error);
        cancel(fcopy, error);
        return;
    }
    put_le64(fcopy->body + WRITE_OFFSET, fcopy->done);
    put_le32(fcopy->body + WRITE_SIZE, (uint32_t)piece);
    fcopy->piece = piece;
    (void)ask(fcopy, WRITING, OPERATION_WRITE, WRITE_BODY);
}

void fcopy_continue(struct fcopy *fcopy)
{
    if (fcopy->phase == READING)
        write_piece(fcopy);
}

static int status_error(uint32_t status, struct reason *reason)
{
    switch (status) {
    case (uint32_t)IC_EXISTS:
        return reason_set(reason, -EEXIST, "the guest has a file of that name");
    case (uint32_t)IC_DISK_FULL:
        return reason_set(reason, -ENOSPC, "the guest's disk is full");
    default:
        return reason_set(reason, -EIO,
                          "the guest could not write the file: is there its folder, and does "
                          "hv_fcopy_daemon run there?");
    }
}

static void take_refusal(struct fcopy *fcopy, uint32_t status)
{
    enum phase phase = fcopy->phase;

    if (phase == CANCELLING) {
        end(fcopy, fcopy->error);
        return;
    }
    int error = status_error(status, &fcopy->reason);
    /* After a start that failed nothing is there, and the name may be that of another file. */
    if (phase == WRITING)
        cancel(fcopy, error);
    else
        end(fcopy, error);
}

static void take_answer(void *owner, uint32_t status, const uint8_t *body, size_t length)
{
    struct fcopy *fcopy = owner;

    (void)body;
    (void)length;
    if (fcopy->phase == IDLE || fcopy->phase == READING)
        return;
    if (status != IC_OK || fcopy->phase == CANCELLING) {
        take_refusal(fcopy, status);
    } else if (fcopy->phase == COMPLETING) {
        end(fcopy, 0);
    } else {
        fcopy->done += fcopy->phase == WRITING ? fcopy->piece : 0;
        write_piece(fcopy);
    }
}

static void abandon(struct fcopy *fcopy, int error, const char *why)
{
    if (fcopy->phase == IDLE)
        return;
    if (fcopy->phase != CANCELLING)
        reason_fill(&fcopy->reason, "%s", why);
    end(fcopy, fcopy->phase == CANCELLING ? fcopy->error : error);
}

static void silent(void *owner)
{
    abandon(owner, -EAGAIN, "the guest does not answer");
}

static void gone(void *owner)
{
    abandon(owner, -EIO, "the guest closed the service");
}

static const struct ic_kind kind = {
    .name = "fcopy",
    .helper = "hv_fcopy_daemon",
    /* 34d14be3-dee4-41c8-9ae7-6b174977c192 */
    .class_id = {0xe3, 0x4b, 0xd1, 0x34, 0xe4, 0xde, 0xc8, 0x41, 0x9a, 0xe7, 0x6b, 0x17, 0x49, 0x77,
                 0xc1, 0x92},
    .type = 7,
    .version_count = 1,
    .versions = {IC_VERSION(1, 1)},
    .gone = gone,
    .answered = take_answer,
    .silent = silent,
};

int fcopy_create(const struct ic_host *host, struct fcopy **ret)
{
    struct fcopy *fcopy = calloc(1, sizeof(*fcopy));

    if (fcopy == NULL)
        return -ENOMEM;
    int error = ic_create(host, &kind, fcopy, &fcopy->ic);
    if (error < 0)
        free(fcopy);
    else
        *ret = fcopy;
    return error;
}

void fcopy_destroy(struct fcopy *fcopy)
{
    if (fcopy == NULL)
        return;
    ic_destroy(fcopy->ic);
    free(fcopy);
}

struct ic *fcopy_ic(struct fcopy *fcopy)
{
    return fcopy->ic;
}

/* ---- starting ---- */

/* The folder and the name of "/folder/name". */
static int put_names(const struct fcopy_job *job, uint8_t *body, struct reason *reason)
{
    char folder[4096];
    const char *slash = strrchr(job->path, '/');

    if (job->path[0] != '/' || slash[1] == '\0' || strlen(job->path) >= sizeof(folder))
        return reason_set(reason, -EINVAL, "the file's name in the guest is not an absolute path");
    /* With its last slash: Linux' daemon makes folders as far as it finds one. */
    memcpy(folder, job->path, (size_t)(slash + 1 - job->path));
    folder[slash + 1 - job->path] = '\0';
    /* Each ends with a zero, which is there. */
    if (utf16_encode(slash + 1, body + START_NAME, NAME_BYTES - 2) < 0 ||
        utf16_encode(folder, body + START_FOLDER, NAME_BYTES - 2) < 0)
        return reason_set(reason, -EINVAL, "the file's name in the guest is too long");
    return 0;
}

int fcopy_start(struct fcopy *fcopy, const struct fcopy_job *job, struct reason *reason)
{
    uint8_t *body = fcopy->body;

    if (!ic_is_ready(fcopy->ic))
        return ic_refuse(fcopy->ic, reason);
    if (fcopy->phase != IDLE)
        return reason_set(reason, -EBUSY, "another file is being copied");
    memset(body, 0, sizeof(fcopy->body));
    int error = put_names(job, body, reason);
    if (error < 0)
        return error;
    put_le32(body + START_FLAGS,
             (job->overwrite ? FLAG_OVERWRITE : 0U) | (job->make_folders ? FLAG_MAKE_FOLDERS : 0U));
    put_le64(body + START_SIZE, job->size);
    error = ic_request(fcopy->ic, body, START_BODY, TIMEOUT_NS);
    if (error < 0)
        return reason_set(reason, error, "the guest cannot be asked");
    fcopy->phase = STARTING;
    fcopy->reason = (struct reason){""};
    fcopy->job = *job;
    fcopy->done = 0;
    fcopy->cancelled = false;
    return 0;
}

void fcopy_cancel(struct fcopy *fcopy)
{
    fcopy->cancelled = true;
    fcopy_continue(fcopy);
}

bool fcopy_is_busy(const struct fcopy *fcopy)
{
    return fcopy->phase != IDLE;
}

uint64_t fcopy_done(const struct fcopy *fcopy)
{
    return fcopy->done;
}
