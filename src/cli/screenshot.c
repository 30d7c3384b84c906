/* partita screenshot: what a guest's screen shows, as a PNG file. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/order.h"
#include "control/call.h"
#include "control/socket.h"
#include "display/picture.h"

enum { TIMEOUT_MS = 20000, BYTES_A_PIXEL = 3 };

struct screenshot_command {
    struct order_words words;
    bool force, help;
};

static int take_force(void *command, const char *value)
{
    (void)value;
    ((struct screenshot_command *)command)->force = true;
    return 0;
}

static int take_help(void *command, const char *value)
{
    (void)value;
    ((struct screenshot_command *)command)->help = true;
    return 0;
}

static int take_word(void *command, const char *word)
{
    return order_take_word(&((struct screenshot_command *)command)->words, 2, "screenshot", word);
}

const struct cli_option screenshot_options[] = {
    {"force", 'f', CLI_FLAG, NULL, NULL, "overwrite FILE", take_force},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void print_help(void)
{
    (void)puts("Usage: partita screenshot NAME [FILE]\n"
               "Write what the screen of the running partition NAME shows to FILE, as PNG; '-'\n"
               "is standard output. Without FILE it is NAME.png here. The partition was started\n"
               "with --video.\n");
    cli_print_options(stdout, screenshot_options);
    (void)puts("\n"
               "Exit codes: 0 done, 1 no screen or no answer, 2 usage, 3 the file cannot be\n"
               "written, 5 no such partition runs.\n"
               "\n"
               "Examples:\n"
               "  partita screenshot web\n"
               "  partita screenshot web - | display");
}

/* ---- the file ---- */

static int refuse_file(const char *file, const char *why)
{
    cli_error("screenshot: %s: %s", file, why);
    return CLI_EXIT_FILE;
}

/* Three bytes a pixel, as PNG has them; NULL: out of memory. */
static uint8_t *take_pixels(const struct screen *screen)
{
    size_t count = (size_t)screen->width * screen->height;
    uint8_t *pixels = malloc(count * BYTES_A_PIXEL);

    for (size_t i = 0; pixels != NULL && i < count; i++) {
        pixels[i * BYTES_A_PIXEL] = (uint8_t)(screen->pixels[i] >> 16);
        pixels[i * BYTES_A_PIXEL + 1] = (uint8_t)(screen->pixels[i] >> 8);
        pixels[i * BYTES_A_PIXEL + 2] = (uint8_t)screen->pixels[i];
    }
    return pixels;
}

/* The file's bytes, to be freed; NULL: out of memory, which is all that can go wrong. */
static char *encode(const struct screen *screen, size_t *ret_size)
{
    png_image image = {
        .version = PNG_IMAGE_VERSION,
        .width = screen->width,
        .height = screen->height,
        .format = PNG_FORMAT_RGB,
    };
    char *bytes = NULL;
    uint8_t *pixels = take_pixels(screen);
    FILE *memory = open_memstream(&bytes, ret_size);
    bool encoded = pixels != NULL && memory != NULL &&
                   png_image_write_to_stdio(&image, memory, 0, pixels, 0, NULL) != 0;

    free(pixels);
    if (memory != NULL && fclose(memory) != 0)
        encoded = false;
    if (encoded)
        return bytes;
    free(bytes);
    return NULL;
}

static int write_stream(const struct screen *screen, FILE *to, const char *name)
{
    size_t size = 0;

    if (to == NULL)
        return refuse_file(name, strerrordesc_np(errno));
    char *bytes = encode(screen, &size);
    if (bytes == NULL)
        return refuse_file(name, "out of memory");
    bool written = fwrite(bytes, 1, size, to) == size && fflush(to) == 0;
    free(bytes);
    return written ? 0 : refuse_file(name, strerrordesc_np(errno));
}

/* What is no regular file, as /dev/stdout, is written as it is. */
static bool is_device(const char *name)
{
    struct stat status;
    return stat(name, &status) == 0 && !S_ISREG(status.st_mode);
}

static int write_device(const struct screen *screen, const char *name)
{
    auto_fclose FILE *file = fopen(name, "we");
    return write_stream(screen, file, name);
}

static int put_in_place(const char *beside, const char *name, bool force)
{
    if (renameat2(AT_FDCWD, beside, AT_FDCWD, name, force ? 0 : RENAME_NOREPLACE) == 0)
        return 0;
    return refuse_file(name, errno == EEXIST ? "is there already; --force overwrites it"
                                             : strerrordesc_np(errno));
}

/* Beside it first: what is there already is replaced by a whole picture or stays. */
static int write_new(const struct screen *screen, const char *name, bool force)
{
    char beside[PATH_MAX];
    int length = snprintf(beside, sizeof(beside), "%s.XXXXXX", name);
    int fd = length > 0 && (size_t)length < sizeof(beside) ? mkostemp(beside, O_CLOEXEC) : -1;
    auto_fclose FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;

    if (file == NULL)
        return refuse_file(name, strerrordesc_np(errno));
    (void)fchmod(fd, 0644);
    int code = write_stream(screen, file, name);
    if (code == 0)
        code = put_in_place(beside, name, force);
    if (code != 0)
        (void)unlink(beside);
    return code;
}

static int write_file(const struct screen *screen, const char *name, bool force)
{
    if (is_device(name))
        return write_device(screen, name);
    int code = write_new(screen, name, force);
    if (code == 0)
        (void)printf("%s: %u x %u pixels\n", name, screen->width, screen->height);
    return code;
}

/* ---- the picture ---- */

static int look(const char *name, struct screen **ret)
{
    struct reason reason = {0};
    auto_close int fd = -1;
    int error = control_open_display(name, TIMEOUT_MS, &fd, &reason);

    if (error < 0) {
        cli_error("screenshot: %s", reason.text);
        return error == -ENOENT ? CLI_EXIT_NO_PARTITION : CLI_EXIT_FAILED;
    }
    if (picture_take(fd, TIMEOUT_MS, ret, &reason) == 0)
        return 0;
    cli_error("screenshot: the screen of %s: %s", name, reason.text);
    return CLI_EXIT_FAILED;
}

static bool is_black(const struct screen *screen)
{
    size_t count = (size_t)screen->width * screen->height;

    for (size_t i = 0; i < count; i++) {
        if (screen->pixels[i] != 0)
            return false;
    }
    return true;
}

static int take_screenshot(const struct screenshot_command *command)
{
    const char *name = command->words.words[0];
    const char *file = command->words.count > 1 ? command->words.words[1] : NULL;
    char usual[CONTROL_NAME_SIZE + sizeof(".png")];
    struct screen *screen = NULL;
    int code = look(name, &screen);

    if (code != 0)
        return code;
    if (is_black(screen))
        (void)fputs(
            "partita: screenshot: all is black; the guest may not have loaded its driver yet\n",
            stderr);
    (void)snprintf(usual, sizeof(usual), "%s.png", name);
    if (file != NULL && strcmp(file, "-") == 0)
        code = write_stream(screen, stdout, "standard output");
    else
        code = write_file(screen, file != NULL ? file : usual, command->force);
    screen_destroy(screen);
    return code;
}

int screenshot_main(int argc, char **argv)
{
    struct screenshot_command command = {0};
    int code = cli_parse_words(screenshot_options, argc, argv, &command, take_word);

    if (code == 0 && command.help) {
        print_help();
        return 0;
    }
    if (code == 0 && command.words.count == 0)
        code = order_check_words(&command.words, 1, "screenshot", "NAME [FILE]");
    return code != 0 ? code : take_screenshot(&command);
}
