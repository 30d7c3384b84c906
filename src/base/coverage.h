/* For loops whose turns tell a fuzzer nothing, and would be most of what it sees. */
#ifndef BASE_COVERAGE_H
#define BASE_COVERAGE_H

#ifdef __clang__
#    define NO_COVERAGE __attribute__((no_sanitize("coverage")))
#else
#    define NO_COVERAGE
#endif

#endif
