/*
 * Inside of scsi: what the kinds of units share.
 *
 * A command comes in by scsi_submit. The unit's table of opcodes finds its row; scsi_decode checks
 * every bit of the CDB and fills a struct scsi_cdb; the row's `perform` answers at once, or sets
 * io.advance for work on the disk, of which transfer.c turns the crank.
 */
#ifndef SCSI_SCSI_PRIVATE_H
#define SCSI_SCSI_PRIVATE_H

#include "base/bytes.h"
#include "scsi/scsi.h"

enum {
    SCSI_STAGE_SIZE = 64 << 10, /* the target's own buffer */
    SCSI_STAGE_REPEAT = 16,     /* how often one request writes it */

    /* The most that one command may ask; VPD page 0xb0 says so. Bytes. */
    SCSI_MOST_TRANSFER = 32 << 20, /* also of VERIFY and WRITE SAME, which need no buffer */
    SCSI_BEST_TRANSFER = 1 << 20,
    SCSI_MOST_UNMAP_RANGES = 256,
    SCSI_UNMAP_GRANULARITY = 4096,

    SCSI_SERIAL_LENGTH = 32,
    SCSI_DVD_SECTOR = 2048,
};
#define SCSI_MOST_UNMAP (UINT64_C(4) << 30)

/* ---- fields of three bytes ---- */

static inline uint32_t get_be24(const uint8_t *p)
{
    return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}

static inline void put_be24(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 16);
    put_be16(p + 1, (uint16_t)v);
}

/* ---- cdb.c ---- */

struct scsi_cdb {
    const struct scsi_opcode *opcode;
    uint64_t lba;
    uint32_t blocks;
    uint32_t length; /* allocation or parameter list length, bytes */
    uint8_t options; /* byte 1: bits that the row's usage allows */
    uint8_t page;    /* byte 2: page code with page control, or other choices */
    uint8_t subpage; /* byte 3 */
    uint8_t choice;  /* byte 4 of START STOP UNIT and PREVENT ALLOW, 9 of READ TOC */
};

enum scsi_opcode_flags {
    SCSI_ALWAYS = 1, /* served while a unit attention waits */
    SCSI_MEDIUM = 2, /* NOT READY without a medium */
    SCSI_CHANGES = 4 /* DATA PROTECT on a read-only medium */
};

/* One row of a unit's table. */
struct scsi_opcode {
    uint8_t code;
    int8_t action; /* service action in byte 1; -1: has none */
    uint8_t length;
    uint8_t flags;
    void (*decode)(const uint8_t *cdb, struct scsi_cdb *ret);
    void (*perform)(struct scsi_command *command, const struct scsi_cdb *cdb);
    uint8_t usage[SCSI_MAX_CDB - 1]; /* CDB usage data from byte 1 on, SPC-4 § 6.35.3 */
};

struct scsi_opcodes {
    const struct scsi_opcode *row;
    size_t count;
};

void cdb_decode_nothing(const uint8_t *cdb, struct scsi_cdb *ret);
void cdb_decode_block_6(const uint8_t *cdb, struct scsi_cdb *ret);
void cdb_decode_block_10(const uint8_t *cdb, struct scsi_cdb *ret);
void cdb_decode_block_12(const uint8_t *cdb, struct scsi_cdb *ret);
void cdb_decode_block_16(const uint8_t *cdb, struct scsi_cdb *ret);
/* The length in byte 4, in bytes 3 and 4 (INQUIRY, SEND DIAGNOSTIC), 7 and 8, 6 to 9, 10 to 13. */
void cdb_decode_length_6(const uint8_t *cdb, struct scsi_cdb *ret);
void cdb_decode_length_3(const uint8_t *cdb, struct scsi_cdb *ret);
void cdb_decode_length_10(const uint8_t *cdb, struct scsi_cdb *ret);
void cdb_decode_length_12(const uint8_t *cdb, struct scsi_cdb *ret);
void cdb_decode_length_16(const uint8_t *cdb, struct scsi_cdb *ret);
/* A block in bytes 2 to 9, and the length in 10 to 13. */
void cdb_decode_block_length_16(const uint8_t *cdb, struct scsi_cdb *ret);

/* False: sense is set. */
bool cdb_decode(struct scsi_command *command, const struct scsi_opcodes *opcodes,
                struct scsi_cdb *ret);
void cdb_report_opcodes(struct scsi_command *command, const struct scsi_cdb *cdb);

/* ---- sense.c ---- */

/* Sense key << 16 | additional sense code << 8 | qualifier; SPC-4 annex F. */
enum scsi_sense {
    SENSE_NONE = 0x000000,
    SENSE_START_NEEDED = 0x020402,
    SENSE_NO_MEDIUM = 0x023a00,
    SENSE_WRITE_ERROR = 0x030c00,
    SENSE_READ_ERROR = 0x031100,
    SENSE_INTERNAL_FAILURE = 0x044400,
    SENSE_PARAMETER_LIST_LENGTH = 0x051a00,
    SENSE_UNKNOWN_OPCODE = 0x052000,
    SENSE_LBA_OUT_OF_RANGE = 0x052100,
    SENSE_INVALID_FIELD_IN_CDB = 0x052400,
    SENSE_NO_SUCH_UNIT = 0x052500,
    SENSE_INVALID_FIELD_IN_LIST = 0x052600,
    SENSE_SAVING_NOT_SUPPORTED = 0x053900,
    SENSE_REMOVAL_PREVENTED = 0x055302,
    SENSE_MEDIUM_CHANGED = 0x062800,
    SENSE_RESET = 0x062903,
    SENSE_CAPACITY_CHANGED = 0x062a09,
    SENSE_WRITE_PROTECTED = 0x072700,
    SENSE_NO_SPACE = 0x072707,
    SENSE_MISCOMPARE = 0x0e1d00,
};

void sense_format(uint8_t sense[SCSI_MAX_SENSE], enum scsi_sense what);
/* CHECK CONDITION; nothing was transferred. */
void sense_set(struct scsi_command *command, enum scsi_sense what);
/* The same with a field pointer (SPC-4 § 4.5.2.4.2); bit 7 down to 0, -1: the whole byte. */
void sense_set_cdb_field(struct scsi_command *command, unsigned byte, int bit);
void sense_set_list_field(struct scsi_command *command, unsigned byte, int bit);
/* The same with the block in the INFORMATION field. */
void sense_set_block(struct scsi_command *command, enum scsi_sense what, uint64_t lba);
/* What became of a request to the disk. */
void sense_set_error(struct scsi_command *command, int error);

enum unit_attention { ATTENTION_RESET = 1, ATTENTION_MEDIUM = 2, ATTENTION_CAPACITY = 4 };
/* The most important one that waits, which then does no more; SENSE_NONE: none waits. */
enum scsi_sense sense_take_attention(struct scsi_target *target);

/* ---- target.c ---- */

struct scsi_kind {
    uint8_t device_type; /* SPC-4 § 6.4.2 */
    bool removable;
    const char *product; /* of INQUIRY */
    struct scsi_opcodes opcodes;
    const struct mode_page *const *mode_pages; /* ends with NULL */
};

struct scsi_target {
    const struct scsi_kind *kind;
    struct disk *medium; /* NULL: none */
    uint32_t sector;     /* bytes of a logical block */
    char serial[SCSI_SERIAL_LENGTH + 1];
    uint8_t wwn[8]; /* zero: none */

    uint8_t attention; /* enum unit_attention */
    bool write_cache, removal_prevented, stopped, tray_open;
    uint8_t media_event; /* what GET EVENT STATUS has yet to tell */

    unsigned users;          /* commands that have the medium */
    struct disk *old_medium; /* taken out, and not released yet */
    unsigned old_users;
    void (*released)(void *owner, struct disk *medium);
    void *released_owner;

    struct scsi_command *stager;                       /* who has the buffer */
    struct scsi_command *first_waiting, *last_waiting; /* for it */
    struct iovec stage_iov[SCSI_STAGE_REPEAT];
    uint8_t *stage;
};

int target_create(const struct scsi_kind *kind, uint32_t sector, struct scsi_target **ret);
/* The command has ended: it lets go of its medium. */
void target_release_medium(const struct scsi_command *command);
/* As scsi_dvd_insert, for the medium alone. */
int target_change_medium(struct scsi_target *target, struct disk *medium,
                         void (*released)(void *owner, struct disk *medium), void *owner);
/* 0: no medium. */
uint64_t target_block_count(const struct scsi_target *target);
void target_test_ready(struct scsi_command *command, const struct scsi_cdb *cdb);
void target_request_sense(struct scsi_command *command, const struct scsi_cdb *cdb);
void target_prevent_removal(struct scsi_command *command, const struct scsi_cdb *cdb);
void target_accept(struct scsi_command *command, const struct scsi_cdb *cdb);

/* ---- transfer.c ---- */

/* Answer with at most `length` bytes, as many as the CDB and the guest's buffer have room for. */
void transfer_reply(struct scsi_command *command, const struct scsi_cdb *cdb, uint8_t *bytes,
                    size_t length);
/* Bytes that the guest's buffer holds for this direction. */
size_t transfer_room(const struct scsi_command *command, enum scsi_direction direction);
void transfer_copy_in(const struct scsi_command *command, size_t at, uint8_t *to, size_t length);
void transfer_copy_out(const struct scsi_command *command, size_t at, uint8_t *from, size_t length);

/* The blocks lie on the medium, and are not too many: else sense is set. */
bool transfer_check_blocks(struct scsi_command *command, const struct scsi_cdb *cdb);
/* The same for one command's work: io.offset and io.left are set. */
void transfer_begin(struct scsi_command *command, uint64_t offset, uint64_t length,
                    bool (*advance)(struct scsi_command *command));

/* For `advance`: fill in the request to the disk; all return true. */
bool transfer_ask_buffer(struct scsi_command *command, enum disk_op op);
bool transfer_ask_stage(struct scsi_command *command, enum disk_op op, uint64_t length);
bool transfer_ask_unmap(struct scsi_command *command, uint64_t offset, uint64_t length);
/* The last step: a flush when one is due, else false. */
bool transfer_ask_flush(struct scsi_command *command);

/* Do the work that perform set up, or end the command when it set up none. */
void transfer_run(struct scsi_command *command);

void transfer_read(struct scsi_command *command, const struct scsi_cdb *cdb);
void transfer_write(struct scsi_command *command, const struct scsi_cdb *cdb);
void transfer_flush(struct scsi_command *command, const struct scsi_cdb *cdb);

/* ---- blocks.c ---- */

void blocks_verify(struct scsi_command *command, const struct scsi_cdb *cdb);
void blocks_write_same(struct scsi_command *command, const struct scsi_cdb *cdb);
void blocks_unmap(struct scsi_command *command, const struct scsi_cdb *cdb);
void blocks_get_status(struct scsi_command *command, const struct scsi_cdb *cdb);

/* ---- inquiry.c ---- */

void inquiry_perform(struct scsi_command *command, const struct scsi_cdb *cdb);
void inquiry_absent(struct scsi_command *command, const struct scsi_cdb *cdb);
/* "3" and so on made of the disk's id, unless the identity says otherwise. */
void inquiry_name(struct scsi_target *target, const uint8_t id[16],
                  const struct scsi_identity *identity);

/* ---- mode.c ---- */

enum { MODE_PAGE_MOST = 32 };

/* A mode page: its two bytes of header and its parameters. */
struct mode_page {
    uint8_t code, length; /* length of the whole page */
    uint8_t bytes[MODE_PAGE_MOST];
    uint8_t changeable[MODE_PAGE_MOST];
    /* Put the target's state into `bytes`; NULL: it is constant. */
    void (*current)(const struct scsi_target *target, uint8_t *bytes);
};

extern const struct mode_page mode_error_recovery, mode_caching, mode_control, mode_exceptions,
    mode_dvd_capabilities;

void mode_sense(struct scsi_command *command, const struct scsi_cdb *cdb);
void mode_select(struct scsi_command *command, const struct scsi_cdb *cdb);

#endif
