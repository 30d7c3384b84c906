/*
 * The guest's last words: five parameters and, where it says so, a text in its memory (TLFS,
 * "Guest Crash Enlightenment"). The text is the guest's: bytes, bounded, of any kind.
 */
#include "hv/hv_private.h"

enum { PARAMETER_TEXT_GPA = 3, PARAMETER_TEXT_LENGTH = 4 };

void crash_notify(struct hv *hv, unsigned vp, uint64_t control)
{
    struct hv_crash crash = {0};

    if ((control & HV_CRASH_NOTIFY) == 0)
        return;
    (void)pthread_mutex_lock(&hv->partition_lock);
    for (unsigned i = 0; i < 5; i++)
        crash.parameter[i] = hv->crash[i];
    (void)pthread_mutex_unlock(&hv->partition_lock);
    if (control & HV_CRASH_TEXT) {
        uint64_t length = crash.parameter[PARAMETER_TEXT_LENGTH];
        crash.text_length = length < sizeof(crash.text) ? (size_t)length : sizeof(crash.text);
        if (mem_read(hv->mem, crash.parameter[PARAMETER_TEXT_GPA], crash.text, crash.text_length) <
            0)
            crash.text_length = 0;
    }
    hv->host.crash(hv->host.owner, vp, &crash);
}
