/* Any bytes from a child: what is kept is within the limit of its kind, and nothing after an error.
 */
#include "bootdisk/child.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    enum { KINDS = 3 };
    static const uint64_t limits[KINDS] = {0, 20, 4096};
    const struct child_work work = {.limits = limits, .kinds = KINDS};
    struct child_message messages[KINDS];
    struct reason reason = {""};
    int fd = memfd_create("pipe", 0);

    if (fd < 0 || pwrite(fd, bytes, size, 0) != (ssize_t)size)
        abort();
    int error = child_receive(&work, fd, UINT64_MAX, messages, &reason);
    if (error > 0 || (error < 0 && reason.text[0] == '\0'))
        abort();
    for (unsigned i = 0; i < KINDS; i++) {
        if (messages[i].length > limits[i] || (error < 0 && messages[i].bytes != NULL))
            abort();
    }
    for (const char *c = reason.text; *c != '\0'; c++) {
        if (*c < ' ' || *c > '~')
            abort();
    }
    child_release(messages, KINDS);
    (void)close(fd);
    return 0;
}
