/* The screen that viewers see, and who they are. */
#include "worker/display.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/socket.h"
#include "display/screen.h"
#include "vsp/video.h"
#include "worker/viewer.h"

/* What the guest draws is taken in no more often than this. */
#define PAUSE_NS (NS_PER_SECOND / 30)

struct display {
    struct loop *loop;
    struct machine *machine;
    char name[CONTROL_NAME_SIZE];
    struct control_listener listener;
    struct loop_watch *watch;
    struct loop_timer *timer;
    struct loop_timer *door;   /* each second while somebody is there or waits: look_round() */
    uint64_t taken_ns;         /* when it was done last */
    struct screen *screen;     /* while there are viewers */
    struct screen_tiles drawn; /* not taken in yet */
    struct viewer *viewers[DISPLAY_MOST_VIEWERS];
    unsigned count;
};

/* ---- the screen ---- */

static void tell_viewers(struct display *display, const struct screen_tiles *tiles)
{
    for (unsigned i = 0; i < display->count; i++)
        viewer_screen_changed(display->viewers[i], tiles);
}

/* A screen that is there no more stays as it was. */
static void follow_size(struct display *display, const struct video_screen *guest)
{
    struct screen *screen = display->screen;

    if (guest->width == 0 || (guest->width == screen->width && guest->height == screen->height))
        return;
    /* Without memory for it viewers go on with the old size. */
    if (screen_resize(screen, guest->width, guest->height) == 0)
        tell_viewers(display, NULL);
}

/* A guest may do it as often as it likes: what it costs is done in take_screen(). */
static void screen_changed(void *owner)
{
    struct display *display = owner;

    if (display->screen == NULL)
        return;
    screen_tiles_of((struct screen_rectangle){0, 0, VIDEO_MOST_SIDE, VIDEO_MOST_SIDE},
                    &display->drawn);
    loop_timer_set(display->timer, display->taken_ns + PAUSE_NS);
}

static void screen_drawn(void *owner, const struct video_rectangle *rectangle)
{
    struct display *display = owner;
    struct screen_tiles tiles;

    if (display->screen == NULL)
        return;
    screen_tiles_of((struct screen_rectangle){rectangle->left, rectangle->top, rectangle->right,
                                              rectangle->bottom},
                    &tiles);
    screen_tiles_add(&display->drawn, &tiles);
    loop_timer_set(display->timer, display->taken_ns + PAUSE_NS);
}

static struct screen_rectangle place_of(const struct screen_run *run)
{
    return (struct screen_rectangle){
        .left = run->first * SCREEN_TILE,
        .top = run->row * SCREEN_TILE,
        .right = (run->first + run->count) * SCREEN_TILE,
        .bottom = (run->row + 1) * SCREEN_TILE,
    };
}

static void take_screen(void *owner)
{
    struct display *display = owner;
    struct screen_tiles changed = {{0}};
    struct screen_run run;
    struct video_screen guest;

    if (display->screen == NULL)
        return;
    video_look(machine_video(display->machine), &guest);
    follow_size(display, &guest);
    bool same = guest.width == display->screen->width && guest.height == display->screen->height;
    while (same && screen_tiles_next(&display->drawn, 64, &run))
        screen_take(display->screen, place_of(&run), guest.pixels, guest.pitch, &changed);
    display->taken_ns = clock_monotonic_ns();
    tell_viewers(display, &changed);
}

/* ---- viewers ---- */

/* The first viewer finds the screen as it is. */
static int begin_viewing(struct display *display)
{
    struct video *video = machine_video(display->machine);
    struct video_screen guest;

    if (display->screen != NULL)
        return 0;
    video_look(video, &guest);
    int error =
        screen_create(guest.width != 0 ? guest.width : VIDEO_LEAST_WIDTH,
                      guest.height != 0 ? guest.height : VIDEO_LEAST_HEIGHT, &display->screen);
    if (error < 0)
        return error;
    screen_changed(display);
    take_screen(display);
    video_watch(video, true);
    return 0;
}

static void end_viewing(struct display *display)
{
    if (display->count > 0 || display->screen == NULL)
        return;
    video_watch(machine_video(display->machine), false);
    screen_destroy(display->screen);
    display->screen = NULL;
    loop_timer_set(display->timer, 0);
}

static void viewer_left(void *owner, struct viewer *viewer)
{
    struct display *display = owner;

    for (unsigned i = 0; i < display->count; i++) {
        if (display->viewers[i] == viewer) {
            display->viewers[i] = display->viewers[--display->count];
            break;
        }
    }
    viewer_destroy(viewer);
    end_viewing(display);
}

static int add_viewer(struct display *display, int fd)
{
    if (display->count == DISPLAY_MOST_VIEWERS)
        return -EMFILE;
    int error = begin_viewing(display);
    if (error < 0)
        return error;
    const struct viewer_config config = {
        .loop = display->loop,
        .screen = display->screen,
        .name = display->name,
        .keyboard = machine_keyboard(display->machine),
        .mouse = machine_mouse(display->machine),
        .owner = display,
        .left = viewer_left,
    };
    error = viewer_create(&config, fd, &display->viewers[display->count]);
    if (error == 0)
        display->count++;
    end_viewing(display);
    return error;
}

/* Who does not come to the point leaves his place to others; the door may have been closed. */
static void look_round(void *owner)
{
    struct display *display = owner;
    uint64_t now = clock_monotonic_ns();

    /* Backwards: what goes is replaced by the last. */
    for (unsigned i = display->count; i-- > 0;) {
        if (viewer_is_overdue(display->viewers[i], now))
            viewer_left(display, display->viewers[i]);
    }
    (void)loop_watch_modify(display->watch, EPOLLIN);
    if (display->count > 0)
        loop_timer_set(display->door, now + NS_PER_SECOND);
}

static void newcomer(void *owner, uint32_t events)
{
    struct display *display = owner;
    auto_close int fd = -1;
    int error = control_accept(&display->listener, &fd);

    (void)events;
    if (error == 0 && add_viewer(display, fd) == 0)
        (void)take_fd(&fd);
    /* One that has no descriptor stays in the queue, which must not wake us without end. */
    if (error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM)
        (void)loop_watch_modify(display->watch, 0);
    loop_timer_set(display->door, clock_monotonic_ns() + NS_PER_SECOND);
}

/* ---- life ---- */

static int begin(struct display *display, struct reason *reason)
{
    const struct video_user user = {display, screen_changed, screen_drawn};
    int error = loop_timer_create(display->loop, take_screen, display, &display->timer);

    if (error == 0)
        error = loop_timer_create(display->loop, look_round, display, &display->door);
    if (error == 0)
        error = loop_watch_create(display->loop, display->listener.fd, EPOLLIN, newcomer, display,
                                  &display->watch);
    if (error < 0)
        return reason_set(reason, error, "the screen of the guest cannot be shown");
    video_set_user(machine_video(display->machine), &user);
    return 0;
}

int display_create(const char *name, struct loop *loop, struct machine *machine,
                   struct display **ret, struct reason *reason)
{
    struct display *display = calloc(1, sizeof(*display));

    if (display == NULL)
        return reason_set(reason, -ENOMEM, "out of memory");
    display->loop = loop;
    display->machine = machine;
    (void)strncpy(display->name, name, sizeof(display->name) - 1);
    display->listener.fd = -1;
    int error = control_listen_display(name, &display->listener, reason);
    if (error == 0)
        error = begin(display, reason);
    if (error < 0)
        display_destroy(display);
    else
        *ret = display;
    return error;
}

void display_destroy(struct display *display)
{
    if (display == NULL)
        return;
    while (display->count > 0)
        viewer_left(display, display->viewers[0]);
    video_set_user(machine_video(display->machine), NULL);
    if (display->watch != NULL)
        loop_watch_destroy(display->watch);
    if (display->timer != NULL)
        loop_timer_destroy(display->timer);
    if (display->door != NULL)
        loop_timer_destroy(display->door);
    control_unlisten_in_folder(&display->listener);
    free(display);
}
