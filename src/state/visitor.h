/*
 * Inside of a visitor, shared by state.c and its two directions.
 *
 * Format, all integers little-endian:
 *   file     "PARTITA1", then sections
 *   section  u8 name length, name, u32 version, u32 body length, u32 CRC-32C of all of these and
 *            of the body, body
 *   body     fields: u8 name length, name, u32 value length, value
 */
#ifndef STATE_VISITOR_H
#define STATE_VISITOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    STATE_MAGIC_LENGTH = 8,
    STATE_NAME_LIMIT = 31,
    STATE_SECTION_LIMIT = 4096, /* keeps the search for doubles in a hostile file short */
};
#define STATE_MAGIC "PARTITA1"

struct state_visitor {
    bool load;
    bool open; /* between begin and end */
    int error; /* the first since begin */

    /* Save. */
    uint8_t *buffer;
    size_t used, capacity;
    size_t section_start, body_start;

    /* Load. */
    const uint8_t *bytes;
    size_t length;
    const uint8_t *body;
    size_t body_length;
    size_t field_count, fields_taken;
    bool newer;
};

bool state_name_valid(const char *name, size_t length);

void save_begin(struct state_visitor *v, const char *section, uint32_t version);
void save_end(struct state_visitor *v);
void save_field(struct state_visitor *v, const char *field, const void *value, size_t length);
int save_magic(struct state_visitor *v);

/* Whether the framing of all sections holds, and no two share a name: 0 or -EINVAL. */
int load_check(const struct state_visitor *v);
void load_begin(struct state_visitor *v, const char *section, uint32_t version);
void load_end(struct state_visitor *v);
void load_field(struct state_visitor *v, const char *field, void *value, size_t length);

#endif
