/* Which engine runs a partition. One table, in order of preference: the first usable one is taken.
 */
#include "engine/engine.h"

#include <errno.h>

#include "engine/probe_private.h"

static const struct engine_entry {
    enum engine_choice choice;
    const struct engine_ops *ops; /* NULL: this version can only probe it */
    void (*probe)(struct engine_report *ret);
} engines[] = {
    {ENGINE_CHOICE_KVM, NULL, engine_probe_kvm},
    {ENGINE_CHOICE_SOFT, &soft_engine, probe_soft_abilities},
};

enum { ENGINE_COUNT = sizeof(engines) / sizeof(engines[0]) };

void engine_probe_soft(struct engine_report *ret)
{
    probe_soft_abilities(ret);
    if (!ret->usable)
        return;
    int error = probe_engine_speed(&soft_engine, &ret->mips, &ret->reason);
    ret->usable = error == 0 || error == -ETIME;
}

/* Whether the entry can be used; `reason` says why not, or why. */
static bool usable(const struct engine_entry *entry, struct reason *reason)
{
    struct engine_report report;

    entry->probe(&report);
    *reason = report.reason;
    if (report.usable && entry->ops == NULL)
        (void)reason_set(reason, 0, "%s, but this version has no engine for it",
                         report.reason.text);
    return report.usable && entry->ops != NULL;
}

static const struct engine_ops *first_usable(struct reason *reason)
{
    struct reason refused = {0}; /* by the engine preferred most: why it is not taken */

    for (int i = 0; i < ENGINE_COUNT; i++) {
        bool taken = usable(&engines[i], reason);
        if (i == 0 && !taken)
            refused = *reason;
        else if (taken && i > 0)
            *reason = refused;
        if (taken)
            return engines[i].ops;
    }
    return NULL;
}

/* One that was asked for by name: say all that stands in its way. */
static const struct engine_ops *named(const struct engine_entry *entry, struct reason *reason)
{
    struct engine_report report;

    entry->probe(&report);
    *reason = report.reason;
    if (entry->ops == NULL)
        (void)reason_set(reason, 0, "%s; this version can only probe %s, not run guests on it",
                         report.reason.text, report.name);
    return report.usable ? entry->ops : NULL;
}

const struct engine_ops *engine_choose(enum engine_choice choice, struct reason *reason)
{
    if (choice == ENGINE_CHOICE_AUTO)
        return first_usable(reason);
    for (int i = 0; i < ENGINE_COUNT; i++) {
        if (engines[i].choice == choice)
            return named(&engines[i], reason);
    }
    (void)reason_set(reason, -EINVAL, "no such engine");
    return NULL;
}
