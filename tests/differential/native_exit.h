/*
 * Exit codes of the native child.
 */
#ifndef DIFFERENTIAL_NATIVE_EXIT_H
#define DIFFERENTIAL_NATIVE_EXIT_H

enum {
    NATIVE_EXIT_SETUP = 3,
    NATIVE_EXIT_NO_FSGSBASE = 4, /* this kernel or processor cannot do what the tester needs */
};

#endif
