/*
 * INQUIRY: standard data and vital product data pages (SPC-4 § 6.4 and 7.8, SBC-3 § 6.5).
 *
 * The names are those of Hyper-V's own units: guests know them, and Linux trusts a disk with WRITE
 * SAME on this bus by them (storvsc). Its DVD drive claims no version of the standard; from one
 * that claims SPC-3, udev asks the data of an ATA device.
 */
#include <stdio.h>
#include <string.h>

#include "scsi/scsi_private.h"

enum {
    OPTION_VPD = 0x01,

    STANDARD_LENGTH = 74,
    STANDARD_LEAST = 36,
    VERSION_SPC_4 = 6,
    VERSION_NONE = 0,
    FORMAT_SPC = 2,
    REMOVABLE = 0x80,
    COMMAND_QUEUE = 0x02,
    NOT_PRESENT = 0x7f, /* qualifier 011b, type 1Fh: nothing can be attached here */

    /* Version descriptors, SPC-4 § 6.4.2. */
    DESCRIPTOR_SAM_5 = 0x00a0,
    DESCRIPTOR_SPC_4 = 0x0460,
    DESCRIPTOR_SBC_3 = 0x04c0,

    PAGE_SUPPORTED = 0x00,
    PAGE_SERIAL = 0x80,
    PAGE_IDENTIFICATION = 0x83,
    PAGE_BLOCK_LIMITS = 0xb0,
    PAGE_CHARACTERISTICS = 0xb1,
    PAGE_PROVISIONING = 0xb2,
    PAGE_MOST = 96,

    DESIGNATOR_BINARY = 1,
    DESIGNATOR_ASCII = 2,
    DESIGNATOR_VENDOR = 1, /* T10 vendor id */
    DESIGNATOR_NAA = 3,

    NOT_ROTATING = 1,
    PROVISION_UNMAP = 0x80, /* LBPU */
    PROVISION_WS16 = 0x40,  /* LBPWS */
    PROVISION_WS10 = 0x20,  /* LBPWS10 */
    PROVISION_THIN = 2,
};

static const char vendor[] = "Msft    ";

/* Copy a text into a field that is padded with spaces. */
static void put_text(uint8_t *to, const char *text, size_t room)
{
    size_t length = strnlen(text, room);
    memset(to, ' ', room);
    memcpy(to, text, length);
}

/* FNV-1a of the serial number: as lasting as it is. */
static uint64_t hash_serial(const char *serial)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (; *serial != '\0'; serial++)
        hash = (hash ^ (uint8_t)*serial) * UINT64_C(0x100000001b3);
    return hash;
}

static void make_wwn(struct scsi_target *target, const uint8_t id[16], bool has_id)
{
    put_be64(target->wwn, has_id ? get_be64(id) ^ get_be64(id + 8) : hash_serial(target->serial));
    target->wwn[0] = (uint8_t)(0x30 | (target->wwn[0] & 0x0f)); /* NAA 3: locally assigned */
}

void inquiry_name(struct scsi_target *target, const uint8_t id[16],
                  const struct scsi_identity *identity)
{
    static const uint8_t none[16];
    bool has_id = memcmp(id, none, sizeof(none)) != 0;

    if (identity != NULL && identity->serial != NULL) {
        (void)snprintf(target->serial, sizeof(target->serial), "%s", identity->serial);
    } else if (has_id) {
        for (unsigned i = 0; i < 16; i++)
            (void)snprintf(target->serial + 2 * (size_t)i, 3, "%02x", id[i]);
    }
    if (identity != NULL && memcmp(identity->wwn, none, sizeof(identity->wwn)) != 0)
        memcpy(target->wwn, identity->wwn, sizeof(target->wwn));
    else if (target->serial[0] != '\0')
        make_wwn(target, id, has_id);
}

static bool has_serial(const struct scsi_target *target)
{
    return target->serial[0] != '\0';
}

static bool has_wwn(const struct scsi_target *target)
{
    static const uint8_t none[8];
    return memcmp(target->wwn, none, sizeof(none)) != 0;
}

/* ---- pages: the parameters go to `to`; their length is returned ---- */

static size_t put_serial(const struct scsi_target *target, uint8_t *to)
{
    size_t length = strlen(target->serial);
    put_text(to, target->serial, length);
    return length;
}

static size_t put_designator(uint8_t *to, uint8_t code_set, uint8_t type, size_t length)
{
    to[0] = code_set;
    to[1] = type;
    to[3] = (uint8_t)length;
    return 4 + length;
}

static size_t put_identification(const struct scsi_target *target, uint8_t *to)
{
    size_t at = 0;

    if (has_wwn(target)) {
        memcpy(to + 4, target->wwn, sizeof(target->wwn));
        at += put_designator(to, DESIGNATOR_BINARY, DESIGNATOR_NAA, sizeof(target->wwn));
    }
    if (has_serial(target)) {
        size_t length = strlen(target->serial);
        put_text(to + at + 4, vendor, 8);
        put_text(to + at + 12, target->serial, length);
        at += put_designator(to + at, DESIGNATOR_ASCII, DESIGNATOR_VENDOR, 8 + length);
    }
    return at;
}

static size_t put_block_limits(const struct scsi_target *target, uint8_t *to)
{
    const uint32_t sector = target->sector;

    to[0] = 0x01; /* WSNZ: WRITE SAME of 0 blocks is refused */
    put_be16(to + 2, (uint16_t)(SCSI_UNMAP_GRANULARITY / sector));
    put_be32(to + 4, SCSI_MOST_TRANSFER / sector);
    put_be32(to + 8, SCSI_BEST_TRANSFER / sector);
    put_be32(to + 16, (uint32_t)(SCSI_MOST_UNMAP / sector));
    put_be32(to + 20, SCSI_MOST_UNMAP_RANGES);
    put_be32(to + 24, SCSI_UNMAP_GRANULARITY / sector);
    put_be32(to + 28, 0x80000000); /* UGAVALID, aligned to 0 */
    put_be64(to + 32, SCSI_MOST_TRANSFER / sector);
    return 60;
}

static size_t put_characteristics(const struct scsi_target *target, uint8_t *to)
{
    (void)target;
    put_be16(to, NOT_ROTATING);
    return 60;
}

/* LBPRZ stays 0: what the disk leaves alone does not read as zeroes. */
static size_t put_provisioning(const struct scsi_target *target, uint8_t *to)
{
    (void)target;
    to[1] = PROVISION_UNMAP | PROVISION_WS16 | PROVISION_WS10;
    to[2] = PROVISION_THIN;
    return 4;
}

static bool is_disk(const struct scsi_target *target)
{
    return !target->kind->removable;
}

static size_t put_supported(const struct scsi_target *target, uint8_t *to);

static const struct {
    uint8_t code;
    size_t (*put)(const struct scsi_target *target, uint8_t *to);
    bool (*applies)(const struct scsi_target *target); /* NULL: always */
} pages[] = {
    {PAGE_SUPPORTED, put_supported, NULL},
    {PAGE_SERIAL, put_serial, has_serial},
    {PAGE_IDENTIFICATION, put_identification, has_serial},
    {PAGE_BLOCK_LIMITS, put_block_limits, is_disk},
    {PAGE_CHARACTERISTICS, put_characteristics, is_disk},
    {PAGE_PROVISIONING, put_provisioning, is_disk},
};

enum { PAGE_COUNT = sizeof(pages) / sizeof(pages[0]) };

static size_t put_supported(const struct scsi_target *target, uint8_t *to)
{
    size_t count = 0;

    for (unsigned i = 0; i < PAGE_COUNT; i++) {
        if (pages[i].applies == NULL || pages[i].applies(target))
            to[count++] = pages[i].code;
    }
    return count;
}

static void reply_page(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    const struct scsi_target *target = command->target;
    uint8_t reply[PAGE_MOST] = {target->kind->device_type, cdb->page};

    for (unsigned i = 0; i < PAGE_COUNT; i++) {
        if (pages[i].code != cdb->page || (pages[i].applies != NULL && !pages[i].applies(target)))
            continue;
        size_t length = pages[i].put(target, reply + 4);
        put_be16(reply + 2, (uint16_t)length);
        transfer_reply(command, cdb, reply, 4 + length);
        return;
    }
    sense_set_cdb_field(command, 2, -1);
}

static void fill_standard(uint8_t *reply, uint8_t version, size_t length, const char *product)
{
    reply[2] = version;
    reply[3] = FORMAT_SPC;
    reply[4] = (uint8_t)(length - 5);
    put_text(reply + 8, vendor, 8);
    put_text(reply + 16, product, 16);
    put_text(reply + 32, "1.0", 4);
}

static size_t fill_disk(uint8_t *reply, const char *product)
{
    fill_standard(reply, VERSION_SPC_4, STANDARD_LENGTH, product);
    reply[7] = COMMAND_QUEUE;
    put_be16(reply + 58, DESCRIPTOR_SAM_5);
    put_be16(reply + 60, DESCRIPTOR_SPC_4);
    put_be16(reply + 62, DESCRIPTOR_SBC_3);
    return STANDARD_LENGTH;
}

static size_t fill_dvd(uint8_t *reply, const char *product)
{
    fill_standard(reply, VERSION_NONE, STANDARD_LEAST, product);
    reply[1] = REMOVABLE;
    return STANDARD_LEAST;
}

void inquiry_perform(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    const struct scsi_kind *kind = command->target->kind;
    uint8_t reply[STANDARD_LENGTH] = {kind->device_type};

    if ((cdb->options & OPTION_VPD) != 0) {
        reply_page(command, cdb);
        return;
    }
    if (cdb->page != 0) {
        sense_set_cdb_field(command, 2, -1);
        return;
    }
    size_t length =
        kind->removable ? fill_dvd(reply, kind->product) : fill_disk(reply, kind->product);
    transfer_reply(command, cdb, reply, length);
}

void inquiry_absent(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    uint8_t reply[STANDARD_LENGTH] = {NOT_PRESENT};

    if ((cdb->options & OPTION_VPD) != 0 || cdb->page != 0) {
        sense_set_cdb_field(command, 1, 0);
        return;
    }
    fill_standard(reply, VERSION_SPC_4, sizeof(reply), "");
    reply[7] = COMMAND_QUEUE;
    put_be16(reply + 58, DESCRIPTOR_SAM_5);
    put_be16(reply + 60, DESCRIPTOR_SPC_4);
    transfer_reply(command, cdb, reply, sizeof(reply));
}
