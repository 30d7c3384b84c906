/* A DVD drive: MMC-6, as far as drivers need it to read data discs. */
#include <errno.h>
#include <string.h>

#include "scsi/scsi_private.h"

enum {
    START = 0x01, /* byte 4 of START STOP UNIT, MMC-6 § 6.42 */
    LOAD_EJECT = 0x02,

    TOC_MSF = 0x02, /* byte 1 of READ TOC */
    TOC_TRACKS = 0,
    TOC_SESSIONS = 1,
    LEAD_OUT = 0xaa,
    DATA_TRACK = 0x14, /* ADR 1, data, copying not permitted */

    TRACK_BY = 0x03, /* byte 1 of READ TRACK INFORMATION: by block, track or session */
    TRACK_BY_BLOCK = 0,

    PROFILE_CD_ROM = 0x0008,
    PROFILE_DVD_ROM = 0x0010,
    FEATURES_CURRENT = 1, /* RT, byte 1 of GET CONFIGURATION; 0: all from the given one on */
    FEATURE_ONE = 2,
    FEATURE_CURRENT = 0x01,
    FEATURE_PERSISTENT = 0x02,

    EVENTS_POLLED = 0x01,
    EVENT_CLASS_MEDIA = 4,
    EVENT_NONE_AVAILABLE = 0x80,
    MEDIA_NEW = 2, /* MMC-6 § 6.6.2.6 */
    MEDIA_REMOVED = 3,
    MEDIA_PRESENT = 0x02,
    TRAY_OPEN = 0x01,

    FRAMES_A_SECOND = 75,
    MSF_OFFSET = 150, /* frames before block 0 */
};

static bool has_disc(const struct scsi_target *target)
{
    return target->medium != NULL && !target->tray_open;
}

static void read_capacity(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    uint8_t reply[8];
    struct scsi_cdb whole = *cdb;
    uint64_t last = target_block_count(command->target) - 1;

    whole.length = sizeof(reply); /* the CDB has no allocation length */
    put_be32(reply, last > UINT32_MAX ? UINT32_MAX : (uint32_t)last);
    put_be32(reply + 4, SCSI_DVD_SECTOR);
    transfer_reply(command, &whole, reply, sizeof(reply));
}

/* ---- READ TOC, MMC-6 § 6.25 ---- */

static void put_address(uint8_t *to, uint32_t lba, bool msf)
{
    if (!msf) {
        put_be32(to, lba);
        return;
    }
    uint32_t frame = lba + MSF_OFFSET;
    uint32_t minute = frame / FRAMES_A_SECOND / 60;
    to[1] = minute > 0xff ? 0xff : (uint8_t)minute;
    to[2] = (uint8_t)(frame / FRAMES_A_SECOND % 60);
    to[3] = (uint8_t)(frame % FRAMES_A_SECOND);
}

static size_t put_track(uint8_t *to, uint8_t track, uint32_t lba, bool msf)
{
    to[1] = DATA_TRACK;
    to[2] = track;
    put_address(to + 4, lba, msf);
    return 8;
}

static void read_toc(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    uint64_t count = target_block_count(command->target);
    uint32_t end = count > UINT32_MAX - MSF_OFFSET ? UINT32_MAX - MSF_OFFSET : (uint32_t)count;
    bool msf = (cdb->options & TOC_MSF) != 0;
    uint8_t format = cdb->page & 0x0f;
    uint8_t from = command->cdb[6];
    uint8_t reply[4 + 2 * 8] = {0, 0, 1, 1};
    size_t length = 4;

    if (format == 0)
        format = command->cdb[9] >> 6; /* where SFF-8020i had it */
    if (format > TOC_SESSIONS) {
        sense_set_cdb_field(command, 2, 3);
        return;
    }
    if (format == TOC_TRACKS && from > 1 && from != LEAD_OUT) {
        sense_set_cdb_field(command, 6, -1);
        return;
    }
    if (format == TOC_SESSIONS || from <= 1)
        length += put_track(reply + length, 1, 0, msf);
    if (format == TOC_TRACKS)
        length += put_track(reply + length, LEAD_OUT, end, msf);
    put_be16(reply, (uint16_t)(length - 2));
    transfer_reply(command, cdb, reply, length);
}

/* ---- GET CONFIGURATION, MMC-6 § 6.5 and 5.3 ---- */

static const struct feature {
    uint16_t code;
    uint8_t flags; /* byte 2: version and the like */
    uint8_t length;
    uint8_t data[8];
    bool disc; /* current only with a disc */
} features[] = {
    {0x0000, FEATURE_PERSISTENT, 8, {0x00, 0x10, 0, 0, 0x00, 0x08, 0, 0}, false}, /* profiles */
    {0x0001, 0x08 | FEATURE_PERSISTENT, 8, {0, 0, 0, 1, 1, 0, 0, 0}, false},      /* core, SCSI */
    {0x0002, 0x04 | FEATURE_PERSISTENT, 4, {0x02}, false},                        /* morphing */
    {0x0003, 0x04 | FEATURE_PERSISTENT, 4, {0x29}, false},   /* removable: tray, eject, lock */
    {0x0010, 0, 8, {0, 0, 0x08, 0x00, 0, 0x10, 0, 0}, true}, /* random readable, 2048 bytes */
    {0x001d, 0, 0, {0}, true},                               /* multi-read */
    {0x001e, 0x08, 4, {0}, true},                            /* CD read */
    {0x001f, 0, 0, {0}, true},                               /* DVD read */
};

static size_t put_feature(uint8_t *to, const struct feature *feature, bool current,
                          uint16_t profile)
{
    put_be16(to, feature->code);
    to[2] = (uint8_t)(feature->flags | (current ? FEATURE_CURRENT : 0));
    to[3] = feature->length;
    memcpy(to + 4, feature->data, feature->length);
    if (feature->code == 0) { /* the list of profiles marks the current one */
        to[6] = profile == PROFILE_DVD_ROM;
        to[10] = profile == PROFILE_CD_ROM;
    }
    return 4 + (size_t)feature->length;
}

/* Discs that a CD could hold are taken for one. */
static uint16_t current_profile(const struct scsi_target *target)
{
    const uint64_t cd_most = 99 * 60 * FRAMES_A_SECOND;

    if (!has_disc(target))
        return 0;
    return target_block_count(target) <= cd_most ? PROFILE_CD_ROM : PROFILE_DVD_ROM;
}

static void get_configuration(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    uint8_t which = cdb->options & 3;
    uint16_t from = get_be16(command->cdb + 2);
    uint16_t profile = current_profile(command->target);
    uint8_t reply[128] = {0};
    size_t length = 8;

    if (which > FEATURE_ONE) {
        sense_set_cdb_field(command, 1, 1);
        return;
    }
    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
        const struct feature *feature = &features[i];
        bool current = !feature->disc || profile != 0;
        if (which == FEATURE_ONE ? feature->code != from : feature->code < from)
            continue;
        if (current || which != FEATURES_CURRENT)
            length += put_feature(reply + length, feature, current, profile);
    }
    put_be32(reply, (uint32_t)(length - 4));
    put_be16(reply + 6, profile);
    transfer_reply(command, cdb, reply, length);
}

/* ---- GET EVENT STATUS NOTIFICATION, MMC-6 § 6.6 ---- */

static void get_event_status(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    struct scsi_target *target = command->target;
    uint8_t reply[8] = {0, 2, EVENT_NONE_AVAILABLE, 1 << EVENT_CLASS_MEDIA};
    size_t length = 4;

    if ((cdb->options & EVENTS_POLLED) == 0) {
        sense_set_cdb_field(command, 1, 0);
        return;
    }
    if ((cdb->choice & 1 << EVENT_CLASS_MEDIA) != 0) {
        reply[1] = 6;
        reply[2] = EVENT_CLASS_MEDIA;
        reply[4] = target->media_event;
        reply[5] =
            (uint8_t)((target->tray_open ? TRAY_OPEN : 0) | (has_disc(target) ? MEDIA_PRESENT : 0));
        length = sizeof(reply);
        if (cdb->length >= length) /* else the event is not told */
            target->media_event = 0;
    }
    transfer_reply(command, cdb, reply, length);
}

/* MMC-6 § 6.21.2: a disc and session that are complete, one track. */
static void read_disc_information(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    uint8_t reply[34] = {0, 32, 0x0e, 1, 1, 1, 1, 0x20};
    transfer_reply(command, cdb, reply, sizeof(reply));
}

/* MMC-6 § 6.26: the one track, by any of its names. */
static void read_track_information(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    uint32_t address = get_be32(command->cdb + 2);
    uint64_t count = target_block_count(command->target);
    uint32_t size = count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
    bool by_block = (cdb->options & TRACK_BY) == TRACK_BY_BLOCK;
    uint8_t reply[36] = {0, 34, 1, 1, 0, 0x04, 0x01}; /* a data track of mode 1 */

    if (by_block ? address >= size : address != 1) {
        sense_set_cdb_field(command, 2, -1);
        return;
    }
    put_be32(reply + 24, size);
    transfer_reply(command, cdb, reply, sizeof(reply));
}

/* ---- tray ---- */

static void open_tray(struct scsi_target *target)
{
    if (has_disc(target))
        target->media_event = MEDIA_REMOVED;
    target->tray_open = true;
}

static void close_tray(struct scsi_target *target)
{
    if (target->tray_open && target->medium != NULL) {
        target->attention |= ATTENTION_MEDIUM;
        target->media_event = MEDIA_NEW;
    }
    target->tray_open = false;
}

static void start_stop(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    struct scsi_target *target = command->target;

    if ((cdb->choice & LOAD_EJECT) == 0)
        return; /* a disc that stands spins up when it is read */
    if ((cdb->choice & START) != 0)
        close_tray(target);
    else if (target->removal_prevented)
        sense_set(command, SENSE_REMOVAL_PREVENTED);
    else
        open_tray(target);
}

static const struct mode_page *const mode_pages[] = {&mode_error_recovery, &mode_dvd_capabilities,
                                                     NULL};

enum {
    ANY = 0xff,
    CONTROL = 0xc3,
    LUN = 0xe0,
    READ_BITS = 0x1e,
};

#define LBA_4 ANY, ANY, ANY, ANY

static const struct scsi_opcode opcodes[] = {
    {0x00, -1, 6, SCSI_MEDIUM, cdb_decode_nothing, target_test_ready, {LUN, 0, 0, 0, CONTROL}},
    {0x03,
     -1,
     6,
     SCSI_ALWAYS,
     cdb_decode_length_6,
     target_request_sense,
     {LUN, 0, 0, ANY, CONTROL}},
    {0x12, -1, 6, SCSI_ALWAYS, cdb_decode_length_3, inquiry_perform, {LUN | 1, ANY, ANY, ANY, ANY}},
    {0x15, -1, 6, 0, cdb_decode_length_6, mode_select, {LUN | 0x10, 0, 0, ANY, CONTROL}},
    {0x1a, -1, 6, 0, cdb_decode_length_6, mode_sense, {LUN | 0x08, ANY, ANY, ANY, CONTROL}},
    {0x1b, -1, 6, 0, cdb_decode_nothing, start_stop, {LUN | 1, 0, 0, 0x03, CONTROL}},
    {0x1e, -1, 6, 0, cdb_decode_nothing, target_prevent_removal, {LUN, 0, 0, 0x03, CONTROL}},
    {0x25,
     -1,
     10,
     SCSI_MEDIUM,
     cdb_decode_nothing,
     read_capacity,
     {0, 0, 0, 0, 0, 0, 0, 0, CONTROL}},
    {0x28,
     -1,
     10,
     SCSI_MEDIUM,
     cdb_decode_block_10,
     transfer_read,
     {READ_BITS, LBA_4, 0, ANY, ANY, CONTROL}},
    {0x2b, -1, 10, SCSI_MEDIUM, cdb_decode_nothing, target_accept, {0, LBA_4, 0, 0, 0, CONTROL}},
    {0x2f,
     -1,
     10,
     SCSI_MEDIUM,
     cdb_decode_block_10,
     blocks_verify,
     {0x10, LBA_4, 0, ANY, ANY, CONTROL}},
    {0x43,
     -1,
     10,
     SCSI_MEDIUM,
     cdb_decode_length_10,
     read_toc,
     {TOC_MSF, 0x0f, 0, 0, 0, ANY, ANY, ANY, CONTROL}},
    {0x46,
     -1,
     10,
     SCSI_ALWAYS,
     cdb_decode_length_10,
     get_configuration,
     {0x03, ANY, ANY, 0, 0, 0, ANY, ANY, CONTROL}},
    {0x4a,
     -1,
     10,
     SCSI_ALWAYS,
     cdb_decode_length_10,
     get_event_status,
     {EVENTS_POLLED, 0, 0, ANY, 0, 0, ANY, ANY, CONTROL}},
    {0x51,
     -1,
     10,
     SCSI_MEDIUM,
     cdb_decode_length_10,
     read_disc_information,
     {0, 0, 0, 0, 0, 0, ANY, ANY, CONTROL}},
    {0x52,
     -1,
     10,
     SCSI_MEDIUM,
     cdb_decode_length_10,
     read_track_information,
     {TRACK_BY, LBA_4, 0, ANY, ANY, CONTROL}},
    {0x55, -1, 10, 0, cdb_decode_length_10, mode_select, {0x10, 0, 0, 0, 0, 0, ANY, ANY, CONTROL}},
    {0x5a,
     -1,
     10,
     0,
     cdb_decode_length_10,
     mode_sense,
     {0x18, ANY, ANY, 0, 0, 0, ANY, ANY, CONTROL}},
    {0xa3,
     0x0c,
     12,
     0,
     cdb_decode_length_12,
     cdb_report_opcodes,
     {0, 0x87, ANY, ANY, ANY, LBA_4, 0, CONTROL}},
    {0xa8,
     -1,
     12,
     SCSI_MEDIUM,
     cdb_decode_block_12,
     transfer_read,
     {READ_BITS, LBA_4, LBA_4, 0x80, CONTROL}},
    {0xbb,
     -1,
     12,
     0,
     cdb_decode_nothing,
     target_accept, /* SET CD SPEED */
     {0x03, ANY, ANY, ANY, ANY, 0, 0, 0, 0, 0, CONTROL}},
};

static const struct scsi_kind dvd_kind = {
    .device_type = 0x05,
    .removable = true,
    .product = "Virtual DVD-ROM",
    .opcodes = {opcodes, sizeof(opcodes) / sizeof(opcodes[0])},
    .mode_pages = mode_pages,
};

static bool fits(const struct disk *medium)
{
    return medium == NULL || disk_geometry(medium)->logical_sector <= SCSI_DVD_SECTOR;
}

int scsi_dvd_create(struct disk *medium, struct scsi_target **ret)
{
    struct scsi_target *target = NULL;
    int error = fits(medium) ? target_create(&dvd_kind, SCSI_DVD_SECTOR, &target) : -EINVAL;

    if (error < 0)
        return error;
    target->medium = medium;
    *ret = target;
    return 0;
}

int scsi_dvd_insert(struct scsi_target *dvd, struct disk *medium,
                    void (*released)(void *owner, struct disk *medium), void *owner)
{
    bool had_disc = has_disc(dvd);

    if (dvd->kind != &dvd_kind)
        return -ENOTSUP;
    if (!fits(medium))
        return -EINVAL;
    int error = target_change_medium(dvd, medium, released, owner);
    if (error < 0)
        return error;
    if (medium != NULL) {
        dvd->attention |= ATTENTION_MEDIUM;
        dvd->media_event = MEDIA_NEW;
    } else if (had_disc) {
        dvd->media_event = MEDIA_REMOVED;
    }
    dvd->tray_open = false;
    return 0;
}
