/*
 * Synthetic mouse (mouse.h); the guest's side: Linux hid-hyperv.c. Messages have a pipe header, a
 * header of their own, and what the type has.
 */
#include "vsp/mouse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

enum { TYPE_REQUEST, TYPE_RESPONSE, TYPE_DEVICE, TYPE_DEVICE_ACK, TYPE_REPORT };
enum {
    AT_PIPE_TYPE = 0,
    AT_PIPE_SIZE = 4,
    AT_TYPE = 8,
    AT_SIZE = 12,
    AT_BODY = 16,
    PIPE_HEADER = 8,
    PIPE_DATA = 1,
};
#define VERSION (UINT32_C(2) << 16) /* 2.0, the only one there is */

/*
 * What the guest's HID layer reads (HID 1.11 § 6.2.2): buttons, position, wheel. The report is one
 * byte of buttons, two words and one byte.
 */
static const uint8_t report_descriptor[] = {
    0x05, 0x01,                   /* usage page: generic desktop */
    0x09, 0x02,                   /* usage: mouse */
    0xa1, 0x01,                   /* collection: application */
    0x09, 0x01,                   /*   usage: pointer */
    0xa1, 0x00,                   /*   collection: physical */
    0x05, 0x09,                   /*     usage page: button */
    0x19, 0x01, 0x29, 0x05,       /*     usages 1 to 5 */
    0x15, 0x00, 0x25, 0x01,       /*     0 to 1 */
    0x95, 0x05, 0x75, 0x01,       /*     five of one bit */
    0x81, 0x02,                   /*     input: data, variable, absolute */
    0x95, 0x01, 0x75, 0x03,       /*     three bits */
    0x81, 0x03,                   /*     input: constant */
    0x05, 0x01,                   /*     usage page: generic desktop */
    0x09, 0x30, 0x09, 0x31,       /*     usages X, Y */
    0x15, 0x00, 0x26, 0xff, 0x7f, /*     0 to 32767 */
    0x75, 0x10, 0x95, 0x02,       /*     two of 16 bits */
    0x81, 0x02,                   /*     input: data, variable, absolute */
    0x09, 0x38,                   /*     usage: wheel */
    0x15, 0x81, 0x25, 0x7f,       /*     -127 to 127 */
    0x75, 0x08, 0x95, 0x01,       /*     one of 8 bits */
    0x81, 0x06,                   /*     input: data, variable, relative */
    0xc0, 0xc0,                   /*   ends */
};

/* The device: size, vendor, product, version, 11 words reserved; then its HID descriptor. */
enum { INFO_SIZE = 32, HID_DESCRIPTOR_SIZE = 9, VENDOR = 0x045e, PRODUCT = 0x0621 };
enum { DEVICE_SIZE = INFO_SIZE + HID_DESCRIPTOR_SIZE + sizeof(report_descriptor) };

enum { REPORT_SIZE = 6, MOST_REPORTS = 64 };
_Static_assert(AT_BODY + REPORT_SIZE <= MESSENGER_MOST_MESSAGE, "a report fits");

struct mouse {
    struct messenger *messenger;
    struct mouse_report last;
    bool asked; /* the guest agreed on the version, and was told the device */
};

static void put_headers(uint8_t *to, uint32_t type, size_t size)
{
    put_le32(to + AT_PIPE_TYPE, PIPE_DATA);
    put_le32(to + AT_PIPE_SIZE, (uint32_t)(AT_BODY - PIPE_HEADER + size));
    put_le32(to + AT_TYPE, type);
    put_le32(to + AT_SIZE, (uint32_t)size);
}

static void tell_device(struct mouse *mouse)
{
    uint8_t message[AT_BODY + DEVICE_SIZE] = {0};
    uint8_t *info = message + AT_BODY;
    uint8_t *hid = info + INFO_SIZE;

    put_headers(message, TYPE_DEVICE, DEVICE_SIZE);
    put_le32(info, INFO_SIZE);
    put_le16(info + 4, VENDOR);
    put_le16(info + 6, PRODUCT);
    put_le16(info + 8, 1);
    /* HID 1.11 § 6.2.1: length, type, release, country, one descriptor: its type and length */
    hid[0] = HID_DESCRIPTOR_SIZE;
    hid[1] = 0x21;
    put_le16(hid + 2, 0x111);
    hid[5] = 1;
    hid[6] = 0x22;
    put_le16(hid + 7, sizeof(report_descriptor));
    memcpy(hid + HID_DESCRIPTOR_SIZE, report_descriptor, sizeof(report_descriptor));
    messenger_answer(mouse->messenger, message, sizeof(message));
}

/* The answer has the version again, and a byte that says whether it is accepted. */
static void answer_request(struct mouse *mouse, uint32_t version)
{
    uint8_t answer[AT_BODY + 5];
    bool accepted = version == VERSION;

    put_headers(answer, TYPE_RESPONSE, 5);
    put_le32(answer + AT_BODY, version);
    answer[AT_BODY + 4] = accepted ? 1 : 0;
    mouse->asked = accepted;
    messenger_answer(mouse->messenger, answer, sizeof(answer));
    if (accepted)
        tell_device(mouse);
}

static bool received(void *owner, const uint8_t *bytes, size_t length)
{
    struct mouse *mouse = owner;

    if (length < AT_BODY || get_le32(bytes + AT_PIPE_TYPE) != PIPE_DATA)
        return false;
    switch (get_le32(bytes + AT_TYPE)) {
    case TYPE_REQUEST:
        if (length < AT_BODY + 4)
            return false;
        answer_request(mouse, get_le32(bytes + AT_BODY));
        return true;
    case TYPE_DEVICE_ACK:
        if (!mouse->asked)
            return false;
        messenger_start(mouse->messenger);
        return true;
    default:
        return false;
    }
}

static const struct messenger_kind kind = {
    .offer =
        {
            .name = "mouse",
            /* cfa8b69e-5b4a-4cc0-b98b-8ba1a1f3f95a */
            .class_id = {0x9e, 0xb6, 0xa8, 0xcf, 0x4a, 0x5b, 0xc0, 0x4c, 0xb9, 0x8b, 0x8b, 0xa1,
                         0xa1, 0xf3, 0xf9, 0x5a},
            .instance_id = {0x9e, 0xb6, 0xa8, 0xcf, 0x4a, 0x5b, 0xc0, 0x4c, 0xb9, 0x8b, 'p', 'a',
                            'r', 't', 'i', 'm'},
        },
    .received = received,
};

int mouse_create(const struct ic_host *host, struct mouse **ret)
{
    struct mouse *mouse = calloc(1, sizeof(*mouse));

    if (mouse == NULL)
        return -ENOMEM;
    int error = messenger_create(host, &kind, mouse, &mouse->messenger);
    if (error < 0)
        mouse_destroy(mouse);
    else
        *ret = mouse;
    return error;
}

void mouse_destroy(struct mouse *mouse)
{
    if (mouse == NULL)
        return;
    messenger_destroy(mouse->messenger);
    free(mouse);
}

static void put_report(uint8_t *to, const struct mouse_report *report)
{
    put_headers(to, TYPE_REPORT, REPORT_SIZE);
    to[AT_BODY] = report->buttons & 0x1f;
    put_le16(to + AT_BODY + 1, report->x & MOUSE_MOST_POSITION);
    put_le16(to + AT_BODY + 3, report->y & MOUSE_MOST_POSITION);
    to[AT_BODY + 5] = (uint8_t)report->wheel;
}

int mouse_send(struct mouse *mouse, const struct mouse_report *reports, size_t count)
{
    uint8_t messages[MOST_REPORTS][AT_BODY + REPORT_SIZE] = {{0}};

    if (count > MOST_REPORTS)
        return -ENOBUFS;
    for (size_t i = 0; i < count; i++)
        put_report(messages[i], &reports[i]);
    int error = messenger_send(mouse->messenger, messages, sizeof(messages[0]), count);
    if (error == 0 && count > 0)
        mouse->last = reports[count - 1];
    return error;
}

struct mouse_report mouse_last(const struct mouse *mouse)
{
    struct mouse_report last = mouse->last;
    last.wheel = 0;
    return last;
}

void mouse_describe(const struct mouse *mouse, struct messenger_report *ret)
{
    messenger_describe(mouse->messenger, ret);
}
