#include "bootdisk/sandbox.h"

#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"

#define MEMORY_MORE (UINT64_C(1) << 29) /* beyond what the parent had */
enum { CPU_SECONDS = 60 };

/* A sanitizer reserves terabytes of addresses and takes more as it goes. */
#if defined(__SANITIZE_ADDRESS__)
enum { LIMIT_MEMORY = 0 };
#elif defined(__has_feature)
#    if __has_feature(address_sanitizer)
enum { LIMIT_MEMORY = 0 };
#    else
enum { LIMIT_MEMORY = 1 };
#    endif
#else
enum { LIMIT_MEMORY = 1 };
#endif

static int limit(__rlimit_resource_t resource, rlim_t most)
{
    const struct rlimit both = {most, most};
    return setrlimit(resource, &both) < 0 ? -errno : 0;
}

static int limit_memory(void)
{
    auto_fclose FILE *file = fopen("/proc/self/statm", "re");
    char line[64];

    if (file == NULL || fgets(line, sizeof(line), file) == NULL)
        return -EIO;
    uint64_t pages = strtoull(line, NULL, 10);
    return limit(RLIMIT_AS, pages * (uint64_t)sysconf(_SC_PAGESIZE) + MEMORY_MORE);
}

static int set_limits(void)
{
    static const struct {
        __rlimit_resource_t resource;
        rlim_t most;
    } limits[] = {
        {RLIMIT_CPU, CPU_SECONDS}, {RLIMIT_CORE, 0},    {RLIMIT_FSIZE, 0},
        {RLIMIT_NOFILE, 0},        {RLIMIT_MEMLOCK, 0},
    };
    int error = LIMIT_MEMORY ? limit_memory() : 0;

    for (size_t i = 0; error == 0 && i < sizeof(limits) / sizeof(limits[0]); i++)
        error = limit(limits[i].resource, limits[i].most);
    return error;
}

/* ---- system calls ---- */

static int allow_plain(scmp_filter_ctx filter)
{
    static const int calls[] = {
        SCMP_SYS(pread64),      SCMP_SYS(preadv),         SCMP_SYS(fstat),
        SCMP_SYS(brk),          SCMP_SYS(munmap),         SCMP_SYS(mremap),
        SCMP_SYS(madvise),      SCMP_SYS(futex),          SCMP_SYS(clock_gettime),
        SCMP_SYS(time),         SCMP_SYS(getrandom),      SCMP_SYS(sched_yield),
        SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask), SCMP_SYS(restart_syscall),
        SCMP_SYS(exit_group),   SCMP_SYS(exit),
    };
    int error = 0;

    for (size_t i = 0; error == 0 && i < sizeof(calls) / sizeof(calls[0]); i++)
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
    return error;
}

/* The pipe alone is written to, and no new code is mapped. */
static int allow_checked(scmp_filter_ctx filter, int output)
{
    const struct {
        int call;
        struct scmp_arg_cmp condition;
    } rules[] = {
        {SCMP_SYS(write), {0, SCMP_CMP_EQ, (scmp_datum_t)output, 0}},
        {SCMP_SYS(mmap), {2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0}},
        {SCMP_SYS(mprotect), {2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0}},
    };
    int error = 0;

    for (size_t i = 0; error == 0 && i < sizeof(rules) / sizeof(rules[0]); i++)
        error =
            seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, rules[i].call, 1, &rules[i].condition);
    return error;
}

static int filter_calls(int output)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);

    if (filter == NULL)
        return -ENOMEM;
    int error = allow_plain(filter);
    if (error == 0)
        error = allow_checked(filter, output);
    if (error == 0)
        error = seccomp_load(filter); /* sets no_new_privs too */
    seccomp_release(filter);
    return error;
}

int sandbox_enter(int output)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
        return -errno;
    int error = set_limits();
    return error < 0 ? error : filter_calls(output);
}
