/* The integer names of the test images; the images have no C library. */
#ifndef GUEST_TYPES_H
#define GUEST_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef unsigned long word; /* a general register: 32 bits in 32-bit images, else 64 */

#define ARRAY_LENGTH(array) (sizeof(array) / sizeof((array)[0]))

#endif
