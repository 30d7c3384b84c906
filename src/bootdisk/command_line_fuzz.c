/* Any /etc/default/grub: its words are printable, parted by one space, and name no root. */
#include "bootdisk/command_line.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char words[COMMAND_LINE_MOST_WORDS];
    char line[BOOTDISK_COMMAND_LINE_SIZE];
    const struct bootdisk_wish wish = {.screen = true};

    command_line_grub_words((const char *)bytes, size, words);
    size_t length = strnlen(words, sizeof(words));
    if (length == sizeof(words) || strncmp(words, "root=", 5) == 0 || strstr(words, " root="))
        abort();
    for (size_t i = 0; i < length; i++) {
        if (words[i] < ' ' || words[i] > '~' || strchr("$`\\\"'", words[i]) != NULL)
            abort();
        if (words[i] == ' ' && (i == 0 || i == length - 1 || words[i - 1] == ' '))
            abort();
    }
    if (command_line_compose("UUID=0", words, &wish, line, NULL) < 0)
        abort();
    return 0;
}
