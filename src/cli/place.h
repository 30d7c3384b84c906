/* Places of disks as people write them: CONTROLLER:LUN. */
#ifndef CLI_PLACE_H
#define CLI_PLACE_H

#include <stdbool.h>

/* Decimal numbers below 100000; which places there are, the partition knows. */
bool place_parse_number(const char *text, unsigned *ret);
/* Two of them, as "1024x768". */
bool place_parse_two(const char *text, char between, unsigned *ret_first, unsigned *ret_second);
bool place_parse(const char *text, unsigned *ret_controller, unsigned *ret_lun);

#endif
