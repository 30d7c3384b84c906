/*
 * Saved state: named, versioned, lengthed, checksummed sections; one function for both directions.
 *
 *     int rtc_visit_state(struct rtc *rtc, struct state_visitor *v)
 *     {
 *         state_begin(v, "rtc", 1);
 *         state_u8(v, "index", &rtc->index);
 *         state_bytes(v, "cmos", rtc->cmos, sizeof(rtc->cmos));
 *         return state_end(v);
 *     }
 *
 * 1. A visitor saves into a growing buffer or loads from a given one; the visited code is the same.
 * 2. Errors stick: after the first, every call does nothing and state_end returns it.
 * 3. On load every byte is hostile: lengths, names, checksum are verified before a field changes;
 *    a field that the section lacks keeps its value (its reset state), an unknown field is an error
 *    unless the section's version is newer than ours, which is -EOPNOTSUPP.
 * 4. The visited code validates what it loaded (state_fail) before it uses it.
 */
#ifndef STATE_STATE_H
#define STATE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct state_visitor;

int state_save_create(struct state_visitor **ret);
/* `bytes` stays the caller's and must outlive the visitor. */
int state_load_create(const uint8_t *bytes, size_t length, struct state_visitor **ret);
void state_destroy(struct state_visitor *visitor);
/* The saved bytes; the visitor's until it is destroyed. */
const uint8_t *state_saved(const struct state_visitor *visitor, size_t *ret_length);

bool state_is_load(const struct state_visitor *visitor);

/* Sections do not nest. Names: lower case, digits, dash, at most 31 characters. */
void state_begin(struct state_visitor *visitor, const char *section, uint32_t version);
/* 0 or the first error since state_begin: -EINVAL damaged, -ENOENT missing, -EOPNOTSUPP newer. */
int state_end(struct state_visitor *visitor);
/* Refuse what was loaded. */
void state_fail(struct state_visitor *visitor, int error);

void state_u8(struct state_visitor *visitor, const char *field, uint8_t *value);
void state_u16(struct state_visitor *visitor, const char *field, uint16_t *value);
void state_u32(struct state_visitor *visitor, const char *field, uint32_t *value);
void state_u64(struct state_visitor *visitor, const char *field, uint64_t *value);
void state_bool(struct state_visitor *visitor, const char *field, bool *value);
void state_bytes(struct state_visitor *visitor, const char *field, void *bytes, size_t length);

#endif
