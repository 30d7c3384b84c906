/* How addresses, VLANs and rates are written by people. */
#ifndef SWITCHD_NOTATION_H
#define SWITCHD_NOTATION_H

#include "switch/acl.h"

enum { NOTATION_MAC = 18, NOTATION_PREFIX = 64, NOTATION_VLANS = 1024 };

/* "00:15:5d:01:02:03"; false: it is none. */
bool notation_parse_mac(const char *text, uint8_t ret[FRAME_MAC_SIZE]);
void notation_mac(const uint8_t mac[FRAME_MAC_SIZE], char ret[NOTATION_MAC]);

/* "10.0.0.0/8", "fd00::1", "any". Bits behind the prefix must be 0. */
bool notation_parse_prefix(const char *text, struct acl_prefix *ret);
void notation_prefix(const struct acl_prefix *prefix, char ret[NOTATION_PREFIX]);
void notation_address(const struct frame_address *address, char ret[NOTATION_PREFIX]);

/* "1-10,20"; "all"; empty: none. */
bool notation_parse_vlans(const char *text, uint64_t ret[64]);
/* As many as there is room for; the last word is "..." when there was not. */
void notation_vlans(const uint64_t set[64], char ret[NOTATION_VLANS]);

#endif
