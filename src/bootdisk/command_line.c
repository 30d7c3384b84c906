#include "bootdisk/command_line.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct span {
    const char *bytes;
    size_t length;
};

static bool starts_with(struct span text, const char *start)
{
    size_t length = strlen(start);
    return text.length >= length && memcmp(text.bytes, start, length) == 0;
}

/* The value of a shell's assignment, when it is one word that means itself. */
static bool plain_value(struct span value, struct span *ret)
{
    char quote = '\0';

    while (value.length > 0 && strchr(" \t\r", value.bytes[value.length - 1]) != NULL)
        value.length--;
    if (value.length > 0 && (value.bytes[0] == '"' || value.bytes[0] == '\''))
        quote = value.bytes[0];
    if (quote != '\0') {
        if (value.length < 2 || value.bytes[value.length - 1] != quote)
            return false;
        value.bytes++;
        value.length -= 2;
    }
    for (size_t i = 0; i < value.length; i++) {
        char c = value.bytes[i];
        if (c < ' ' || c > '~' || strchr("$`\\\"'", c) != NULL)
            return false;
        if (quote == '\0' && strchr(" ;&|<>()#*?[", c) != NULL)
            return false;
    }
    *ret = value;
    return true;
}

/* Where the root is was found out; another's opinion would be wrong here. */
static bool is_wanted(struct span word)
{
    static const char *const unwanted[] = {"root=", "resume=", "BOOT_IMAGE=", "initrd="};

    for (size_t i = 0; i < sizeof(unwanted) / sizeof(unwanted[0]); i++) {
        if (starts_with(word, unwanted[i]))
            return false;
    }
    return word.length > 0;
}

/* False when there is no room for all of them. */
static bool add_words(struct span value, char *to, size_t size)
{
    size_t used = strlen(to);

    while (value.length > 0) {
        struct span word = value;
        const char *end = memchr(value.bytes, ' ', value.length);
        if (end != NULL)
            word.length = (size_t)(end - value.bytes);
        if (is_wanted(word)) {
            if (used + 1 + word.length >= size)
                return false;
            if (used > 0)
                to[used++] = ' ';
            memcpy(to + used, word.bytes, word.length);
            used += word.length;
            to[used] = '\0';
        }
        size_t step = word.length + (end != NULL);
        value.bytes += step;
        value.length -= step;
    }
    return true;
}

/* The last assignment of a name counts, as in a shell. */
static struct span find_value(struct span text, const char *name)
{
    struct span found = {"", 0};

    while (text.length > 0) {
        struct span line = text;
        const char *end = memchr(text.bytes, '\n', text.length);
        if (end != NULL)
            line.length = (size_t)(end - text.bytes);
        size_t step = line.length + (end != NULL);
        text.bytes += step;
        text.length -= step;
        if (!starts_with(line, name))
            continue;
        struct span value = {line.bytes + strlen(name), line.length - strlen(name)};
        if (!plain_value(value, &found))
            found = (struct span){"", 0};
    }
    return found;
}

void command_line_grub_words(const char *text, size_t length, char ret[COMMAND_LINE_MOST_WORDS])
{
    static const char *const names[] = {"GRUB_CMDLINE_LINUX=", "GRUB_CMDLINE_LINUX_DEFAULT="};

    ret[0] = '\0';
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct span value = find_value((struct span){text, length}, names[i]);
        if (!add_words(value, ret, COMMAND_LINE_MOST_WORDS)) {
            ret[0] = '\0';
            return;
        }
    }
}

int command_line_compose(const char *root, const char *grub_words, const struct bootdisk_wish *wish,
                         char ret[BOOTDISK_COMMAND_LINE_SIZE], struct reason *reason)
{
    const char *own = wish->append != NULL ? wish->append : "";
    int length = snprintf(ret, BOOTDISK_COMMAND_LINE_SIZE, "root=%s ro%s%s%s console=ttyS0%s%s",
                          root, *grub_words != '\0' ? " " : "", grub_words,
                          wish->screen ? " console=tty0" : "", *own != '\0' ? " " : "", own);

    if (length < 0 || length >= BOOTDISK_COMMAND_LINE_SIZE)
        return reason_set(reason, -EINVAL, "the kernel's command line gets longer than %d bytes",
                          BOOTDISK_COMMAND_LINE_SIZE - 1);
    return 0;
}
