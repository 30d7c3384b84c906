/*
 * A guest of the software engine with the same pages at the same addresses as the native child:
 * just enough of a kernel that user mode can run one instruction and trap.
 */
#ifndef DIFFERENTIAL_GUEST_H
#define DIFFERENTIAL_GUEST_H

#include "engine/engine.h"
#include "layout.h"
#include "policy.h"

struct guest;

int guest_create(const struct engine_ops *ops, enum engine_cpu_level level,
                 enum engine_translate translate, bool has_ldt, struct guest **ret,
                 struct reason *reason);
void guest_destroy(struct guest *guest);

/* Run one case over the batch's data pages. 0, or a negative errno when the engine refused. */
int guest_run(struct guest *guest, const uint8_t *data, const struct diff_case *c,
              struct diff_result *ret);

/* What CPUID shows to user mode, asked there. */
int guest_features(struct guest *guest, struct policy *ret);

#endif
