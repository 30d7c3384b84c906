#include "display/picture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "display/rfb.h"

enum { WIDTH = 333, HEIGHT = 222, PATIENCE_MS = 10000 };

static void key(void *owner, uint32_t keysym, uint16_t code, bool down)
{
    (void)owner;
    (void)keysym;
    (void)code;
    (void)down;
}

static void pointer(void *owner, unsigned x, unsigned y, uint8_t buttons)
{
    (void)owner;
    (void)x;
    (void)y;
    (void)buttons;
}

static uint32_t colour_at(unsigned x, unsigned y)
{
    return (x * 77 ^ y * 4099) & 0xffffff;
}

/* Our own server, until the viewer goes. */
static void serve(int fd)
{
    const struct rfb_user user = {NULL, key, pointer};
    struct screen *screen = NULL;
    struct rfb *rfb = NULL;
    const uint8_t *bytes = NULL;
    uint8_t heard[100];
    ssize_t count;

    if (screen_create(WIDTH, HEIGHT, &screen) < 0 || rfb_create(screen, "x", &user, &rfb) < 0)
        _exit(1);
    for (unsigned i = 0; i < WIDTH * HEIGHT; i++)
        screen->pixels[i] = colour_at(i % WIDTH, i / WIDTH);
    do {
        size_t length;
        while ((length = rfb_output(rfb, &bytes)) > 0)
            rfb_sent(rfb, (size_t)send(fd, bytes, length, MSG_NOSIGNAL));
        count = recv(fd, heard, sizeof(heard), 0);
    } while (count > 0 && rfb_receive(rfb, heard, (size_t)count, NULL) == 0);
    _exit(0);
}

/* A server that says just this. */
static void say(int fd, const void *bytes, size_t length)
{
    char heard[64];
    (void)!write(fd, bytes, length);
    while (read(fd, heard, sizeof(heard)) > 0)
        ;
    _exit(0);
}

static int look(const void *bytes, size_t length, int timeout_ms, struct screen **ret,
                struct reason *reason)
{
    int ends[2];
    int status = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    pid_t child = fork();
    if (child == 0) {
        (void)close(ends[0]);
        if (bytes == NULL)
            serve(ends[1]);
        say(ends[1], bytes, length);
    }
    (void)close(ends[1]);
    int error = picture_take(ends[0], timeout_ms, ret, reason);
    (void)close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    return error;
}

static void a_picture_is_as_the_server_has_it(void **state)
{
    struct screen *screen = NULL;
    struct reason reason = {""};
    (void)state;

    assert_int_equal(look(NULL, 0, PATIENCE_MS, &screen, &reason), 0);
    assert_int_equal(screen->width, WIDTH);
    assert_int_equal(screen->height, HEIGHT);
    for (unsigned i = 0; i < WIDTH * HEIGHT; i++)
        assert_int_equal(screen->pixels[i], colour_at(i % WIDTH, i / WIDTH));
    screen_destroy(screen);
}

static void what_a_server_must_not_say_is_refused(void **state)
{
#define HANDS "RFB 003.008\n\1\1\0\0\0\0"
#define INIT  "\0\10\0\4FORMAT FORMAT FO\0\0\0\1n"
    static const struct {
        const char *bytes;
        size_t length;
        const char *word;
    } wrong[] = {
        {"RFB 003.003\n", 12, "3.8"},
        {"HTTP/1.1 400", 12, "3.8"},
        {"RFB 003.008\n\1\2", 14, "password"},
        {"RFB 003.008\n\0", 13, "password"},
        {"RFB 003.008\n\1\1\0\0\0\1", 18, "lets nobody"},
        {HANDS "\0\0\0\4FORMAT FORMAT FO\0\0\0\0", 42, "0 x 4"},
        {HANDS "\0\4\xff\xff"
               "FORMAT FORMAT FO\0\0\0\0",
         42, "65535"},
        {HANDS "\0\4\0\4FORMAT FORMAT FO\x7f\0\0\0", 42, "text"},
        {HANDS INIT "\1", 44, "type 1"},
        {HANDS INIT "\2\3\0\0\0\0\0\0\1x\0\0\0\1\0\1\0\0\0\10\0\1\0\0\0\0", 43 + 10 + 16,
         "rectangle"},
        {HANDS INIT "\0\0\0\1\0\0\0\1\0\1\0\4\0\0\0\0", 43 + 16, "rectangle"},
        {HANDS INIT "\0\0\0\1\0\0\0\0\0\1\0\1\0\0\0\20", 43 + 16, "rectangle"},
    };
    struct screen *screen = NULL;
    (void)state;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct reason reason = {""};
        int error = look(wrong[i].bytes, wrong[i].length, PATIENCE_MS, &screen, &reason);
        if (error >= 0 || strstr(reason.text, wrong[i].word) == NULL)
            fail_msg("%zu: %d, %s", i, error, reason.text);
        assert_null(screen);
    }
}

static void a_silent_server_is_not_waited_for(void **state)
{
    struct screen *screen = NULL;
    struct reason reason = {""};
    (void)state;

    assert_int_equal(look("RFB", 3, 50, &screen, &reason), -ETIMEDOUT);
    assert_non_null(strstr(reason.text, "in time"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_picture_is_as_the_server_has_it),
        cmocka_unit_test(what_a_server_must_not_say_is_refused),
        cmocka_unit_test(a_silent_server_is_not_waited_for),
    };
    return cmocka_run_group_tests_name("picture", tests, NULL, NULL);
}
