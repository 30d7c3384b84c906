#include "base/reason.h"

#include <stdarg.h>
#include <stdio.h>

void reason_fill(struct reason *reason, const char *format, ...)
{
    if (reason == NULL)
        return;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(reason->text, sizeof(reason->text), format, args);
    va_end(args);
}
