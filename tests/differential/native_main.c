/*
 * The native child of the differential tester: runs cases on the host's own processor.
 *
 * 1. It is a program apart, built without sanitizers: their shadow memory and their thread-local
 *    data would be in the way of a test's addresses and of its FS base.
 * 2. After start-up it calls no library function: FS may hold anything. The only system calls are
 *    futex and exit_group from its own text; seccomp kills it for any other.
 * 3. A case ends by a signal. The handler leaves by native_entry.S, not by sigreturn; SA_NODEFER
 *    keeps the mask empty.
 *
 * Usage: partita-difftest-native FD, where FD is the memfd that holds struct diff_ring.
 */
#include <asm/ldt.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "layout.h"
#include "native_exit.h"

_Static_assert(offsetof(struct diff_state, rip) == 128, "native_entry.S");
_Static_assert(offsetof(struct diff_state, rflags) == 136, "native_entry.S");
_Static_assert(offsetof(struct diff_state, fs_base) == 144, "native_entry.S");
_Static_assert(offsetof(struct diff_state, segment) == 160, "native_entry.S");
_Static_assert(offsetof(struct diff_state, xsave) == 192, "native_entry.S");

enum { SIGNAL_STACK = 64 * 1024, PAGES_SIZE = 2 * DIFF_PAGE + DIFF_DATA_SIZE };

extern const ucontext_t *native_run(const struct diff_state *state);
extern void native_handler(int number, siginfo_t *info, void *context);
extern uint16_t native_segments[DIFF_SEGMENTS];
extern const char __executable_start[]; /* NOLINT(readability-identifier-naming) */
extern const char etext[];

/* Writable views of the code page and the data pages. */
struct views {
    uint8_t *code;
    uint8_t *data;
};

static void copy(void *to, const void *from, size_t length)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
}

static void fill(void *to, uint8_t value, size_t length)
{
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(length) : "a"(value) : "memory");
}

static long raw_futex(const uint32_t *word, int operation, uint32_t value)
{
    register long timeout __asm__("r10") = 0;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(SYS_futex), "D"(word), "S"(operation), "d"(value), "r"(timeout)
                     : "rcx", "r11", "memory");
    return result;
}

static void wait_for_batch(struct diff_ring *ring, uint32_t done)
{
    while (__atomic_load_n(&ring->asked, __ATOMIC_ACQUIRE) == done)
        (void)raw_futex(&ring->asked, FUTEX_WAIT, done);
}

static void take_gprs(const ucontext_t *context, struct diff_state *ret)
{
    static const uint8_t order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                      REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                      REG_R12, REG_R13, REG_R14, REG_R15};
    const greg_t *from = context->uc_mcontext.gregs;
    for (unsigned i = 0; i < 16; i++)
        ret->gpr[i] = (uint64_t)from[order[i]];
    ret->rip = (uint64_t)from[REG_RIP];
    ret->rflags = (uint64_t)from[REG_EFL];
    copy(ret->segment, native_segments, sizeof(ret->segment));
    ret->segment[DIFF_CS] = (uint16_t)from[REG_CSGSFS];
    ret->segment[DIFF_SS] = (uint16_t)((uint64_t)from[REG_CSGSFS] >> 48);
}

static void take_result(const ucontext_t *context, const struct views *views,
                        struct diff_result *ret)
{
    const greg_t *from = context->uc_mcontext.gregs;
    __asm__ volatile("rdfsbase %0" : "=r"(ret->out.fs_base));
    __asm__ volatile("rdgsbase %0" : "=r"(ret->out.gs_base));
    take_gprs(context, &ret->out);
    ret->vector = (uint32_t)from[REG_TRAPNO];
    ret->error = (uint64_t)from[REG_ERR];
    ret->cr2 = (uint64_t)from[REG_CR2];
    copy(ret->out.xsave, context->uc_mcontext.fpregs, DIFF_XSAVE_SIZE);
    copy(ret->data, views->data, DIFF_DATA_SIZE);
    ret->outcome = DIFF_TRAPPED;
}

static void run_case(const struct diff_ring *ring, const struct diff_case *c,
                     const struct views *views, struct diff_result *ret)
{
    copy(views->data, ring->data, DIFF_DATA_SIZE);
    for (unsigned i = 0; i < c->patch_count; i++)
        copy(views->data + c->patch[i].offset, c->patch[i].bytes, c->patch[i].length);
    copy(views->code + c->code_offset, c->code, c->code_length);
    take_result(native_run(&c->in), views, ret);
    fill(views->code + c->code_offset, 0xcc, c->code_length);
}

__attribute__((noreturn)) static void serve(struct diff_ring *ring, const struct views *views)
{
    uint32_t done = 0;
    for (;;) {
        wait_for_batch(ring, done);
        for (uint32_t i = 0; i < ring->count && i < DIFF_BATCH; i++) {
            __atomic_store_n(&ring->running, i, __ATOMIC_RELEASE);
            if (ring->results[i].outcome == DIFF_NOT_RUN)
                run_case(ring, &ring->cases[i], views, &ring->results[i]);
        }
        done++;
        __atomic_store_n(&ring->done, done, __ATOMIC_RELEASE);
        (void)raw_futex(&ring->done, FUTEX_WAKE, 1);
    }
}

/* ---- start-up ---- */

__attribute__((noreturn)) static void give_up(const char *what)
{
    (void)fprintf(stderr, "partita-difftest-native: %s\n", what);
    exit(NATIVE_EXIT_SETUP); /* NOLINT(concurrency-mt-unsafe): there is one thread */
}

/* Populated, so that the P bit of a page fault's error code does not depend on what ran before. */
static void map_at(int fd, uint64_t address, uint64_t size, int protection, off_t offset)
{
    void *wanted = (void *)(uintptr_t)address; /* NOLINT(performance-no-int-to-ptr) */
    if (mmap(wanted, size, protection, MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, fd,
             offset) != wanted)
        give_up("an address of the test is taken");
}

static struct views map_pages(void)
{
    int fd = memfd_create("pages", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, PAGES_SIZE) != 0)
        give_up("no memory for the pages");
    uint8_t *view = mmap(NULL, PAGES_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (view == MAP_FAILED)
        give_up("no memory for the pages");
    fill(view, 0xcc, DIFF_PAGE);
    map_at(fd, DIFF_CODE, DIFF_PAGE, PROT_READ | PROT_EXEC, 0);
    map_at(fd, DIFF_RW0, DIFF_RW_SIZE, PROT_READ | PROT_WRITE, DIFF_PAGE);
    map_at(fd, DIFF_RO, DIFF_PAGE, PROT_READ, DIFF_PAGE + DIFF_RW_SIZE);
    map_at(fd, DIFF_ENTRY_PAGE, DIFF_PAGE, PROT_READ | PROT_WRITE, DIFF_PAGE + DIFF_DATA_SIZE);
    return (struct views){.code = view, .data = view + DIFF_PAGE};
}

static void take_signals(void)
{
    static const int numbers[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    void *memory =
        mmap(NULL, SIGNAL_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        give_up("no memory for the signal stack");
    stack_t stack = {.ss_sp = memory, .ss_size = SIGNAL_STACK};
    struct sigaction action = {.sa_sigaction = native_handler,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    if (sigaltstack(&stack, NULL) != 0)
        give_up("sigaltstack");
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (sigaction(numbers[i], &action, NULL) != 0)
            give_up("sigaction");
}

/* Kernels without CONFIG_MODIFY_LDT_SYSCALL refuse: the tester then leaves those segments out. */
static uint32_t make_ldt(void)
{
    static const struct user_desc entries[] = {
        {.entry_number = DIFF_LDT_RW,
         .base_addr = DIFF_RW0,
         .limit = DIFF_RW_SIZE - 1,
         .seg_32bit = 1,
         .contents = MODIFY_LDT_CONTENTS_DATA,
         .useable = 1},
        {.entry_number = DIFF_LDT_DOWN,
         .base_addr = DIFF_RW0,
         .limit = DIFF_PAGE - 1,
         .seg_32bit = 1,
         .contents = MODIFY_LDT_CONTENTS_STACK,
         .useable = 1},
        {.entry_number = DIFF_LDT_RO,
         .base_addr = DIFF_RW0,
         .limit = DIFF_RW_SIZE - 1,
         .seg_32bit = 1,
         .contents = MODIFY_LDT_CONTENTS_DATA,
         .read_exec_only = 1,
         .useable = 1},
        {.entry_number = DIFF_LDT_GONE,
         .base_addr = DIFF_RW0,
         .limit = DIFF_RW_SIZE - 1,
         .seg_32bit = 1,
         .contents = MODIFY_LDT_CONTENTS_DATA,
         .seg_not_present = 1,
         .useable = 1},
        {.entry_number = DIFF_LDT_STACK16,
         .base_addr = DIFF_RW0,
         .limit = DIFF_RW_SIZE - 1,
         .seg_32bit = 0,
         .contents = MODIFY_LDT_CONTENTS_DATA,
         .useable = 1},
        {.entry_number = DIFF_LDT_CODE16,
         .base_addr = DIFF_CODE,
         .limit = DIFF_PAGE - 1,
         .seg_32bit = 0,
         .contents = MODIFY_LDT_CONTENTS_CODE,
         .useable = 1},
    };
    for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
        if (syscall(SYS_modify_ldt, 0x11, &entries[i], sizeof(entries[i])) != 0)
            return 0;
    return 1;
}

/* Invariant 2: system calls from elsewhere than this program's text are the test's, not ours. */
static void confine(void)
{
    uint64_t start = (uintptr_t)__executable_start;
    uint64_t end = (uintptr_t)etext;
    if (start >> 32 != end >> 32)
        give_up("text crosses 4 GiB");
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 9),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(start >> 32), 0, 7),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)start, 0, 5),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)end, 4, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_restart_syscall, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        give_up("seccomp");
}

int main(int argc, char **argv)
{
    if (argc != 2)
        give_up("to be started by partita-difftest only");
    if ((getauxval(AT_HWCAP2) & 2) == 0) /* HWCAP2_FSGSBASE, Linux asm/hwcap2.h */
        return NATIVE_EXIT_NO_FSGSBASE;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        give_up("prctl");
    struct diff_ring *ring = mmap(NULL, sizeof(*ring), PROT_READ | PROT_WRITE, MAP_SHARED,
                                  (int)strtol(argv[1], NULL, 10), 0);
    if (ring == MAP_FAILED)
        give_up("no ring");
    struct views views = map_pages();
    take_signals();
    ring->has_ldt = make_ldt();
    confine();
    serve(ring, &views);
}
