/* What a child gives up before it looks at hostile bytes. */
#ifndef BOOTDISK_SANDBOX_H
#define BOOTDISK_SANDBOX_H

/*
 * From here on this process, of one thread, may read open descriptors at offsets, use memory
 * within a limit, write to `output`, and end; every other system call kills it. Negative errno when
 * the host does not grant that.
 */
int sandbox_enter(int output);

#endif
