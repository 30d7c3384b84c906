/*
 * Synthetic video (video.h); the guest's side: Linux hyperv_fb.c. Messages have a pipe header, a
 * header of their own, whose size counts itself, and what the type has; nothing is aligned.
 */
#include "vsp/video.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

enum {
    TYPE_VERSION = 1,
    TYPE_VERSION_ANSWER = 2,
    TYPE_MEMORY = 3,
    TYPE_MEMORY_ANSWER = 4,
    TYPE_SITUATION = 5,
    TYPE_SITUATION_ANSWER = 6,
    TYPE_POINTER_POSITION = 7,
    TYPE_POINTER_SHAPE = 8,
    TYPE_FEATURES = 9,
    TYPE_DRAWN = 10,
    TYPE_RESOLUTIONS = 13,
    TYPE_RESOLUTIONS_ANSWER = 14,
};
enum {
    AT_PIPE_TYPE = 0,
    AT_PIPE_SIZE = 4,
    AT_TYPE = 8,
    AT_SIZE = 12,
    AT_BODY = 16,
    PIPE_HEADER = 8,
    PIPE_DATA = 1,
};

/* Bodies. */
enum {
    VERSION_SIZE = 4,
    VERSION_ANSWER_SIZE = 6, /* the version, whether it is accepted, how many screens there are */
    MEMORY_SIZE = 17,        /* a cookie, whether there is an address, the address */
    COOKIE_SIZE = 8,
    SITUATION_SIZE = 9,         /* a cookie, how many screens */
    SITUATION_SCREEN_SIZE = 18, /* active, offset, depth, width, height, pitch */
    FEATURES_SIZE = 4,          /* what the host wants: drawn, pointer's place, shape, situation */
    DRAWN_SIZE = 2,             /* the screen, how many rectangles */
    RECTANGLE_SIZE = 16,
    RESOLUTIONS_SIZE = 1,
    EDID_SIZE = 128,
    RESOLUTIONS_ANSWER_SIZE = EDID_SIZE + 3, /* count, which is the default, standard */
};

/* The major number is the lower half. */
#define VERSION_3_2 UINT32_C(0x20003)
#define VERSION_3_5 UINT32_C(0x50003)
enum { DEPTH = 32, BYTES_A_PIXEL = 4, MOST_PITCH = 1 << 16, MIB = 1 << 20 };

/* What else a guest may choose, as far as the memory reaches; the wanted one comes first. */
static const uint16_t resolutions[][2] = {{640, 480},   {800, 600},   {1024, 768},  {1152, 864},
                                          {1280, 720},  {1280, 1024}, {1440, 900},  {1600, 900},
                                          {1600, 1200}, {1680, 1050}, {1920, 1080}, {1920, 1200},
                                          {2560, 1440}, {2560, 1600}, {3840, 2160}};
enum { RESOLUTION_COUNT = sizeof(resolutions) / sizeof(resolutions[0]) };

struct video {
    struct video_config config;
    struct video_user user;
    struct messenger *messenger;
    bool watched, watch_told; /* what the guest should do, and what it was told last */
    uint32_t version;         /* 0: none */
    bool has_memory, active;
    uint64_t memory; /* where the guest's video memory is */
    uint32_t offset; /* of the first pixel within */
    unsigned width, height, pitch;
    uint64_t rectangles;
};

static void put_headers(uint8_t *to, uint32_t type, size_t size)
{
    put_le32(to + AT_PIPE_TYPE, PIPE_DATA);
    put_le32(to + AT_PIPE_SIZE, (uint32_t)(AT_BODY - PIPE_HEADER + size));
    put_le32(to + AT_TYPE, type);
    put_le32(to + AT_SIZE, (uint32_t)(AT_BODY - PIPE_HEADER + size));
}

/* ---- the screen ---- */

/* Where the pixels are, or NULL: not in RAM, or nowhere. */
static const uint8_t *find_pixels(const struct video *video)
{
    uint64_t length = (uint64_t)video->pitch * video->height;

    if (!video->active || !video->has_memory || video->memory > UINT64_MAX - UINT32_MAX)
        return NULL;
    return mem_pin(video->config.mem, video->memory + video->offset, length);
}

void video_look(const struct video *video, struct video_screen *ret)
{
    const uint8_t *pixels = find_pixels(video);

    *ret = (struct video_screen){0};
    if (pixels != NULL)
        *ret = (struct video_screen){video->width, video->height, video->pitch, pixels};
}

static void tell_changed(const struct video *video)
{
    if (video->user.changed != NULL)
        video->user.changed(video->user.owner);
}

/* The guest tells what it draws only while somebody looks. */
static void send_features(struct video *video)
{
    uint8_t message[AT_BODY + FEATURES_SIZE] = {0};

    if (video->watched == video->watch_told)
        return;
    put_headers(message, TYPE_FEATURES, FEATURES_SIZE);
    message[AT_BODY] = video->watched ? 1 : 0;
    message[AT_BODY + 3] = 1;
    if (messenger_send(video->messenger, message, sizeof(message), 1) == 0)
        video->watch_told = video->watched;
}

void video_watch(struct video *video, bool watched)
{
    video->watched = watched;
    send_features(video);
}

/* ---- what the guest says ---- */

static void answer_version(struct video *video, const uint8_t *body)
{
    uint8_t answer[AT_BODY + VERSION_ANSWER_SIZE];
    uint32_t version = get_le32(body);
    bool accepted = version == VERSION_3_2 || version == VERSION_3_5;

    put_headers(answer, TYPE_VERSION_ANSWER, VERSION_ANSWER_SIZE);
    put_le32(answer + AT_BODY, version);
    answer[AT_BODY + 4] = accepted ? 1 : 0;
    answer[AT_BODY + 5] = 1;
    video->version = accepted ? version : 0;
    messenger_answer(video->messenger, answer, sizeof(answer));
}

static uint8_t *put_resolution(uint8_t *to, unsigned width, unsigned height)
{
    put_le16(to, (uint16_t)width);
    put_le16(to + 2, (uint16_t)height);
    return to + 4;
}

static bool fits(const struct video *video, const uint16_t resolution[2])
{
    uint64_t bytes = (uint64_t)resolution[0] * resolution[1] * BYTES_A_PIXEL;
    bool wanted = resolution[0] == video->config.width && resolution[1] == video->config.height;
    return !wanted && bytes <= (uint64_t)video->config.megabytes * MIB;
}

/* Guests take the default; the EDID block is left empty, which they do not look at. */
static void answer_resolutions(struct video *video, unsigned most)
{
    uint8_t answer[AT_BODY + RESOLUTIONS_ANSWER_SIZE + (1 + RESOLUTION_COUNT) * 4] = {0};
    uint8_t *head = answer + AT_BODY + EDID_SIZE;
    uint8_t *at = put_resolution(head + 3, video->config.width, video->config.height);
    unsigned count = 1;

    for (unsigned i = 0; i < RESOLUTION_COUNT && count < most; i++) {
        if (!fits(video, resolutions[i]))
            continue;
        at = put_resolution(at, resolutions[i][0], resolutions[i][1]);
        count++;
    }
    head[0] = (uint8_t)count;
    put_headers(answer, TYPE_RESOLUTIONS_ANSWER, (size_t)(at - answer) - AT_BODY);
    messenger_answer(video->messenger, answer, (size_t)(at - answer));
}

static void answer_cookie(struct video *video, uint32_t type, const uint8_t *cookie)
{
    uint8_t answer[AT_BODY + COOKIE_SIZE];

    put_headers(answer, type, COOKIE_SIZE);
    memcpy(answer + AT_BODY, cookie, COOKIE_SIZE);
    messenger_answer(video->messenger, answer, sizeof(answer));
}

static void take_memory(struct video *video, const uint8_t *body)
{
    video->has_memory = body[8] != 0;
    video->memory = get_le64(body + 9);
    answer_cookie(video, TYPE_MEMORY_ANSWER, body);
    tell_changed(video);
}

/* The first screen is the only one; false: it cannot be like that. */
static bool take_screen(struct video *video, const uint8_t *screen)
{
    uint32_t width = get_le32(screen + 6);
    uint32_t height = get_le32(screen + 10);
    uint32_t pitch = get_le32(screen + 14);

    video->active = false;
    if (screen[0] == 0)
        return true;
    if (screen[5] != DEPTH || width < 1 || width > VIDEO_MOST_SIDE || height < 1 ||
        height > VIDEO_MOST_SIDE || pitch < width * BYTES_A_PIXEL || pitch > MOST_PITCH)
        return false;
    video->active = true;
    video->offset = get_le32(screen + 1);
    video->width = width;
    video->height = height;
    video->pitch = pitch;
    return true;
}

static bool take_situation(struct video *video, const uint8_t *body, size_t length)
{
    bool known = body[8] > 0 && length >= SITUATION_SIZE + SITUATION_SCREEN_SIZE;
    bool right = known && take_screen(video, body + SITUATION_SIZE);

    if (!known)
        video->active = false;
    answer_cookie(video, TYPE_SITUATION_ANSWER, body);
    messenger_start(video->messenger);
    send_features(video);
    tell_changed(video);
    return right || body[8] == 0;
}

static unsigned clip(uint32_t value, unsigned most)
{
    int32_t place = (int32_t)value;
    return place < 0 ? 0 : (unsigned)place > most ? most : (unsigned)place;
}

static void take_rectangle(struct video *video, const uint8_t *bytes)
{
    const struct video_rectangle drawn = {
        .left = clip(get_le32(bytes), video->width),
        .top = clip(get_le32(bytes + 4), video->height),
        .right = clip(get_le32(bytes + 8), video->width),
        .bottom = clip(get_le32(bytes + 12), video->height),
    };

    video->rectangles++;
    if (drawn.left < drawn.right && drawn.top < drawn.bottom && video->user.drawn != NULL)
        video->user.drawn(video->user.owner, &drawn);
}

static bool take_drawn(struct video *video, const uint8_t *body, size_t length)
{
    size_t count = body[1];

    if (length < DRAWN_SIZE + count * RECTANGLE_SIZE)
        return false;
    if (!video->watched || find_pixels(video) == NULL)
        return true;
    for (size_t i = 0; i < count; i++)
        take_rectangle(video, body + DRAWN_SIZE + i * RECTANGLE_SIZE);
    return true;
}

static size_t least_size(uint32_t type)
{
    switch (type) {
    case TYPE_VERSION:
        return VERSION_SIZE;
    case TYPE_MEMORY:
        return MEMORY_SIZE;
    case TYPE_SITUATION:
        return SITUATION_SIZE;
    case TYPE_DRAWN:
        return DRAWN_SIZE;
    case TYPE_RESOLUTIONS:
        return RESOLUTIONS_SIZE;
    default:
        return 0;
    }
}

static bool take(struct video *video, uint32_t type, const uint8_t *body, size_t length)
{
    if (length < least_size(type) || (type != TYPE_VERSION && video->version == 0))
        return false;
    switch (type) {
    case TYPE_VERSION:
        answer_version(video, body);
        return true;
    case TYPE_MEMORY:
        take_memory(video, body);
        return true;
    case TYPE_SITUATION:
        return take_situation(video, body, length);
    case TYPE_DRAWN:
        return take_drawn(video, body, length);
    case TYPE_RESOLUTIONS:
        answer_resolutions(video, body[0]);
        return true;
    case TYPE_POINTER_POSITION: /* viewers have a pointer of their own */
    case TYPE_POINTER_SHAPE:
        return true;
    default:
        return false;
    }
}

static bool received(void *owner, const uint8_t *bytes, size_t length)
{
    if (length < AT_BODY || get_le32(bytes + AT_PIPE_TYPE) != PIPE_DATA)
        return false;
    return take(owner, get_le32(bytes + AT_TYPE), bytes + AT_BODY, length - AT_BODY);
}

static void closed(void *owner)
{
    struct video *video = owner;

    video->version = 0;
    video->has_memory = video->active = video->watch_told = false;
    tell_changed(video);
}

/* ---- life ---- */

static const struct messenger_kind kind = {
    .offer =
        {
            .name = "video",
            /* da0a7802-e377-4aac-8e77-0558eb1073f8 */
            .class_id = {0x02, 0x78, 0x0a, 0xda, 0x77, 0xe3, 0xac, 0x4a, 0x8e, 0x77, 0x05, 0x58,
                         0xeb, 0x10, 0x73, 0xf8},
            .instance_id = {0x02, 0x78, 0x0a, 0xda, 0x77, 0xe3, 0xac, 0x4a, 0x8e, 0x77, 'p', 'a',
                            'r', 't', 'i', 'v'},
        },
    .received = received,
    .closed = closed,
};

int video_create(const struct ic_host *host, const struct video_config *config, struct video **ret)
{
    struct video *video = calloc(1, sizeof(*video));
    struct messenger_kind mine = kind;

    if (video == NULL)
        return -ENOMEM;
    video->config = *config;
    mine.offer.mmio_megabytes = (uint16_t)config->megabytes;
    int error = messenger_create(host, &mine, video, &video->messenger);
    if (error < 0)
        video_destroy(video);
    else
        *ret = video;
    return error;
}

void video_destroy(struct video *video)
{
    if (video == NULL)
        return;
    video->user = (struct video_user){0};
    messenger_destroy(video->messenger);
    free(video);
}

void video_set_user(struct video *video, const struct video_user *user)
{
    video->user = user != NULL ? *user : (struct video_user){0};
}

void video_describe(const struct video *video, struct video_report *ret)
{
    *ret = (struct video_report){
        .major = video->version & 0xffff,
        .minor = video->version >> 16,
        .rectangles = video->rectangles,
    };
    messenger_describe(video->messenger, &ret->messenger);
}
