/*
 * Mode pages: MODE SENSE and MODE SELECT of 6 and 10 bytes (SPC-4 § 6.11 to 6.14 and 7.5).
 *
 * A guest can change one thing, the write cache. MODE SELECT checks the whole list against the
 * changeable bits of each page before it does.
 */
#include <string.h>

#include "scsi/scsi_private.h"

enum {
    NO_BLOCK_DESCRIPTORS = 0x08, /* DBD, byte 1 */
    PAGE_CODE = 0x3f,
    PAGE_CONTROL_SHIFT = 6,
    PAGE_ALL = 0x3f,
    SUBPAGE_ALL = 0xff,

    DEVICE_WRITE_PROTECTED = 0x80, /* SBC-3 § 6.4.1 */
    DEVICE_FUA = 0x10,             /* DPOFUA */

    BLOCK_DESCRIPTOR = 8,
    PARAMETERS_SAVEABLE = 0x80, /* PS, of a page's first byte */
    SUBPAGE_FORMAT = 0x40,      /* SPF */
    PAGE_CACHING = 0x08,
    CACHING_WCE = 0x04, /* byte 2 */

    REPLY_MOST = 256,
    LIST_MOST = 256,
};

enum page_control { CURRENT, CHANGEABLE, DEFAULT, SAVED };

static void put_caching(const struct scsi_target *target, uint8_t *bytes)
{
    if (!target->write_cache)
        bytes[2] &= (uint8_t)~CACHING_WCE;
}

static void put_dvd_capabilities(const struct scsi_target *target, uint8_t *bytes)
{
    if (target->removal_prevented)
        bytes[6] |= 0x02; /* locked */
}

const struct mode_page mode_error_recovery = {.code = 0x01, .length = 12, .bytes = {0x01, 10}};
const struct mode_page mode_caching = {.code = PAGE_CACHING,
                                       .length = 20,
                                       .bytes = {PAGE_CACHING, 18, CACHING_WCE},
                                       .changeable = {PAGE_CACHING, 18, CACHING_WCE},
                                       .current = put_caching};
/* Byte 3: commands may be reordered. */
const struct mode_page mode_control = {.code = 0x0a, .length = 12, .bytes = {0x0a, 10, 0, 0x10}};
/* Byte 2: DEXCPT, no exceptions are reported. */
const struct mode_page mode_exceptions = {.code = 0x1c, .length = 12, .bytes = {0x1c, 10, 0x08}};
/* MMC-3 § 5.5.10: reads CD-R, CD-RW, DVD-ROM, DVD-R; tray, locks, ejects. */
const struct mode_page mode_dvd_capabilities = {.code = 0x2a,
                                                .length = 28,
                                                .bytes = {0x2a, 26, 0x1b, 0, 0x71, 0, 0x29},
                                                .current = put_dvd_capabilities};

/* ---- MODE SENSE ---- */

static size_t put_page(uint8_t *to, const struct scsi_target *target, const struct mode_page *page,
                       enum page_control control)
{
    memcpy(to, control == CHANGEABLE ? page->changeable : page->bytes, page->length);
    to[0] = page->code;
    to[1] = (uint8_t)(page->length - 2);
    if (control == CURRENT && page->current != NULL)
        page->current(target, to);
    return page->length;
}

static size_t put_pages(uint8_t *to, const struct scsi_target *target, const struct scsi_cdb *cdb)
{
    uint8_t code = cdb->page & PAGE_CODE;
    size_t length = 0;

    for (const struct mode_page *const *page = target->kind->mode_pages; *page != NULL; page++) {
        if (code == PAGE_ALL || code == (*page)->code)
            length += put_page(to + length, target, *page,
                               (enum page_control)(cdb->page >> PAGE_CONTROL_SHIFT));
    }
    return length;
}

/* Short block descriptor, SPC-4 § 7.5.6. */
static void put_block_descriptor(uint8_t *to, const struct scsi_target *target)
{
    uint64_t count = target_block_count(target);
    put_be32(to, count > UINT32_MAX ? UINT32_MAX : (uint32_t)count);
    put_be24(to + 5, target->sector);
}

static uint8_t device_parameter(const struct scsi_target *target)
{
    if (target->kind->removable)
        return 0; /* reserved for MMC */
    bool read_only = disk_geometry(target->medium)->read_only;
    return (uint8_t)((read_only ? DEVICE_WRITE_PROTECTED : 0) | DEVICE_FUA);
}

static size_t header_length(const struct scsi_cdb *cdb)
{
    return cdb->opcode->length == 6 ? 4 : 8;
}

void mode_sense(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    const struct scsi_target *target = command->target;
    uint8_t reply[REPLY_MOST] = {0};
    size_t header = header_length(cdb);
    bool descriptor = (cdb->options & NO_BLOCK_DESCRIPTORS) == 0 && !target->kind->removable;
    size_t length = header + (descriptor ? BLOCK_DESCRIPTOR : 0);

    if (cdb->page >> PAGE_CONTROL_SHIFT == SAVED) {
        sense_set(command, SENSE_SAVING_NOT_SUPPORTED);
        return;
    }
    if (cdb->subpage != 0 && cdb->subpage != SUBPAGE_ALL) {
        sense_set_cdb_field(command, 3, -1);
        return;
    }
    size_t pages = put_pages(reply + length, target, cdb);
    if (pages == 0) {
        sense_set_cdb_field(command, 2, 5);
        return;
    }
    if (descriptor)
        put_block_descriptor(reply + header, target);
    length += pages;
    if (header == 4) {
        reply[0] = (uint8_t)(length - 1);
        reply[2] = device_parameter(target);
        reply[3] = descriptor ? BLOCK_DESCRIPTOR : 0;
    } else {
        put_be16(reply, (uint16_t)(length - 2));
        reply[3] = device_parameter(target);
        put_be16(reply + 6, descriptor ? BLOCK_DESCRIPTOR : 0);
    }
    transfer_reply(command, cdb, reply, length);
}

/* ---- MODE SELECT ---- */

static const struct mode_page *find_page(const struct scsi_target *target, uint8_t code)
{
    for (const struct mode_page *const *page = target->kind->mode_pages; *page != NULL; page++) {
        if ((*page)->code == code)
            return *page;
    }
    return NULL;
}

/* One page of a list, at `at`: known, whole, and nothing changed that cannot be. */
static bool check_page(struct scsi_command *command, const uint8_t *list, size_t at, size_t length)
{
    const struct mode_page *page = find_page(command->target, list[at] & PAGE_CODE);
    uint8_t now[MODE_PAGE_MOST];

    if (page == NULL || (list[at] & SUBPAGE_FORMAT) != 0) {
        sense_set_list_field(command, (unsigned)at, -1);
        return false;
    }
    if (length - at < 2 || list[at + 1] != page->length - 2) {
        sense_set_list_field(command, (unsigned)at + 1, -1);
        return false;
    }
    if (length - at < page->length) {
        sense_set(command, SENSE_PARAMETER_LIST_LENGTH);
        return false;
    }
    (void)put_page(now, command->target, page, CURRENT);
    for (unsigned i = 2; i < page->length; i++) {
        if (((list[at + i] ^ now[i]) & ~page->changeable[i]) != 0) {
            sense_set_list_field(command, (unsigned)at + i, -1);
            return false;
        }
    }
    return true;
}

/* The block descriptor must say what is so; 0 blocks stand for all. */
static bool check_descriptor(struct scsi_command *command, const uint8_t *list, size_t at)
{
    uint8_t now[BLOCK_DESCRIPTOR] = {0};

    put_block_descriptor(now, command->target);
    if (get_be32(list + at) != 0 && memcmp(list + at, now, 4) != 0) {
        sense_set_list_field(command, (unsigned)at, -1);
        return false;
    }
    if (memcmp(list + at + 4, now + 4, 4) != 0) {
        sense_set_list_field(command, (unsigned)at + 4, -1);
        return false;
    }
    return true;
}

/* Check a list of `length` bytes; `*ret_write_cache` is what it sets. */
static bool decode_list(struct scsi_command *command, const uint8_t *list, size_t header,
                        size_t length, bool *ret_write_cache)
{
    if (length < header) {
        sense_set(command, SENSE_PARAMETER_LIST_LENGTH);
        return false;
    }
    size_t descriptors = header == 4 ? list[3] : get_be16(list + 6);
    if (descriptors != 0 && descriptors != BLOCK_DESCRIPTOR) {
        sense_set_list_field(command, header == 4 ? 3 : 6, -1);
        return false;
    }
    if (length - header < descriptors) {
        sense_set(command, SENSE_PARAMETER_LIST_LENGTH);
        return false;
    }
    if (descriptors != 0 && !check_descriptor(command, list, header))
        return false;
    for (size_t at = header + descriptors; at < length; at += (size_t)list[at + 1] + 2) {
        if (!check_page(command, list, at, length))
            return false;
        if ((list[at] & PAGE_CODE) == PAGE_CACHING)
            *ret_write_cache = (list[at + 2] & CACHING_WCE) != 0;
    }
    return true;
}

void mode_select(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    struct scsi_target *target = command->target;
    uint8_t list[LIST_MOST] = {0};
    bool write_cache = target->write_cache;

    if (cdb->length == 0)
        return;
    if (cdb->length > sizeof(list) || cdb->length > transfer_room(command, SCSI_TO_TARGET)) {
        sense_set(command, SENSE_PARAMETER_LIST_LENGTH);
        return;
    }
    transfer_copy_in(command, 0, list, cdb->length);
    if (!decode_list(command, list, header_length(cdb), cdb->length, &write_cache))
        return;
    command->transferred = cdb->length;
    /* What the cache held must be on the medium before the guest relies on its absence. */
    command->io.flush = target->write_cache && !write_cache;
    target->write_cache = write_cache;
    transfer_begin(command, 0, 0, transfer_ask_flush);
}
