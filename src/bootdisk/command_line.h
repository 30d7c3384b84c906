/* The kernel's command line for a disk: where its root is, its own words, the user's. */
#ifndef BOOTDISK_COMMAND_LINE_H
#define BOOTDISK_COMMAND_LINE_H

#include <stddef.h>

#include "base/reason.h"
#include "bootdisk/bootdisk.h"

enum { COMMAND_LINE_MOST_WORDS = 1024 };

/*
 * The words of GRUB_CMDLINE_LINUX and GRUB_CMDLINE_LINUX_DEFAULT in the text of /etc/default/grub,
 * when they are plain: no expansion and no escape of the shell, only printable ASCII, not too long.
 * root= and its kind are left out, for they are found out here. Empty when there are none.
 */
void command_line_grub_words(const char *text, size_t length, char ret[COMMAND_LINE_MOST_WORDS]);

/*
 * "root=ROOT ro GRUB-WORDS console=ttyS0 APPEND", with a screen console=tty0 before it: the last
 * console= is where init writes, and what the user said comes last, so that it wins. -EINVAL when
 * it gets too long.
 */
int command_line_compose(const char *root, const char *grub_words, const struct bootdisk_wish *wish,
                         char ret[BOOTDISK_COMMAND_LINE_SIZE], struct reason *reason);

#endif
