/*
 * Synthetic video, versions 3.2 and 3.5: the guest says where in its memory the pixels of its
 * screen lie and which rectangles it has drawn. 32 bits a pixel. Loop thread.
 *
 * The peer is Linux drivers/video/fbdev/hyperv_fb.c. Guests are hostile: a screen that does not lie
 * in RAM, or is larger than VIDEO_MOST_SIDE each way, is none; its contents may change at any time.
 */
#ifndef VSP_VIDEO_H
#define VSP_VIDEO_H

#include "mem/mem.h"
#include "vsp/messenger.h"

struct video;

enum { VIDEO_LEAST_WIDTH = 640, VIDEO_LEAST_HEIGHT = 480, VIDEO_MOST_SIDE = 4096 };

/* From left and top up to but not with right and bottom. */
struct video_rectangle {
    unsigned left, top, right, bottom;
};

struct video_user {
    void *owner;
    /* There is a screen, it has another size or place, or there is none any more. */
    void (*changed)(void *owner);
    /* Drawn anew, within the screen; only while it is watched. */
    void (*drawn)(void *owner, const struct video_rectangle *rectangle);
};

struct video_config {
    unsigned width, height; /* what the guest is to use */
    unsigned megabytes;     /* of video memory: what the guest takes for it */
    struct mem *mem;
};

int video_create(const struct ic_host *host, const struct video_config *config, struct video **ret);
/* NULL is accepted. */
void video_destroy(struct video *video);
/* Who looks at it; at most one, NULL removes it. Nobody is told of what is there already. */
void video_set_user(struct video *video, const struct video_user *user);
/* Whether the guest is to tell what it draws. */
void video_watch(struct video *video, bool watched);

/* The screen as it is now. */
struct video_screen {
    unsigned width, height; /* 0: there is none */
    size_t pitch;           /* bytes from one row to the next */
    /* Little-endian 0x??rrggbb, all `height` rows of it are RAM; valid until the loop's next turn.
     */
    const uint8_t *pixels;
};
void video_look(const struct video *video, struct video_screen *ret);

struct video_report {
    struct messenger_report messenger;
    unsigned major, minor; /* 0.0: none agreed on */
    uint64_t rectangles;
};
void video_describe(const struct video *video, struct video_report *ret);

#endif
