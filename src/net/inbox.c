#include "net/inbox.h"

#include <errno.h>
#include <sys/mman.h>

enum { ALIGNMENT = 64 };

int inbox_create(struct inbox *inbox)
{
    void *buffer = mmap(NULL, INBOX_BUFFER, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (buffer == MAP_FAILED)
        return -ENOMEM;
    *inbox = (struct inbox){.buffer = buffer};
    return 0;
}

void inbox_destroy(struct inbox *inbox)
{
    if (inbox->buffer != NULL)
        (void)munmap(inbox->buffer, INBOX_BUFFER);
    inbox->buffer = NULL;
}

void inbox_add_at(struct inbox *inbox, uint8_t *bytes /* NOLINT(readability-non-const-parameter) */,
                  size_t length, const struct net_offload *offload)
{
    struct iovec *iov = &inbox->iov[inbox->count];

    *iov = (struct iovec){bytes, length};
    inbox->frames[inbox->count++] =
        (struct net_frame){.iov = iov, .iov_count = 1, .length = length, .offload = *offload};
}

void inbox_add(struct inbox *inbox, size_t skip, size_t length, const struct net_offload *offload)
{
    inbox_add_at(inbox, inbox_end(inbox) + skip, length, offload);
    inbox->used += (skip + length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (inbox->used > INBOX_BUFFER)
        inbox->used = INBOX_BUFFER;
}

bool inbox_deliver(struct inbox *inbox, const struct net_port_user *user)
{
    unsigned count = inbox->count - inbox->done;

    if (count > 0)
        inbox->done += user->receive(user->owner, inbox->frames + inbox->done, count);
    inbox->paused = inbox->done < inbox->count;
    if (!inbox->paused) {
        inbox->count = inbox->done = 0;
        inbox->used = 0;
    }
    return !inbox->paused;
}
