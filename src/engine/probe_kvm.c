/* The probe's loop on /dev/kvm. Source: Linux Documentation/virt/kvm/api.rst. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "engine/probe_private.h"

struct kvm_probe {
    int kvm, vm, vcpu;
    struct kvm_run *run;
    size_t run_size;
    uint8_t *ram;
    struct engine_registers registers;
};

static int failed(struct reason *reason, const char *what)
{
    int error = errno;
    char text[128];
    return reason_set(reason, -error, "%s failed: %s", what, strerror_r(error, text, sizeof(text)));
}

static int create_memory(struct kvm_probe *probe, struct reason *reason)
{
    uint8_t *ram =
        mmap(NULL, PROBE_GUEST_RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ram == MAP_FAILED)
        return failed(reason, "mmap");
    probe->ram = ram;
    probe_guest_write(ram);

    struct kvm_userspace_memory_region region = {
        .memory_size = PROBE_GUEST_RAM,
        .userspace_addr = (uintptr_t)ram,
    };
    if (ioctl(probe->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return failed(reason, "KVM_SET_USER_MEMORY_REGION");
    return 0;
}

/* A 64-bit guest needs a CPUID that has long mode; give it all that KVM offers. */
static int set_cpuid(struct kvm_probe *probe, struct reason *reason)
{
    enum { ENTRIES = 256 };
    struct kvm_cpuid2 *cpuid =
        calloc(1, sizeof(*cpuid) + ENTRIES * sizeof(struct kvm_cpuid_entry2));
    if (cpuid == NULL)
        return reason_set(reason, -ENOMEM, "out of memory");
    int error = 0;
    cpuid->nent = ENTRIES;
    if (ioctl(probe->kvm, KVM_GET_SUPPORTED_CPUID, cpuid) < 0)
        error = failed(reason, "KVM_GET_SUPPORTED_CPUID");
    else if (ioctl(probe->vcpu, KVM_SET_CPUID2, cpuid) < 0)
        error = failed(reason, "KVM_SET_CPUID2");
    free(cpuid);
    return error;
}

static int create_vcpu(struct kvm_probe *probe, struct reason *reason)
{
    probe->vcpu = ioctl(probe->vm, KVM_CREATE_VCPU, 0);
    if (probe->vcpu < 0)
        return failed(reason, "KVM_CREATE_VCPU");
    int size = ioctl(probe->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (size < (int)sizeof(struct kvm_run))
        return reason_set(reason, -EPROTO, "KVM_GET_VCPU_MMAP_SIZE gives %d", size);
    void *run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, probe->vcpu, 0);
    if (run == MAP_FAILED)
        return failed(reason, "mmap of the vCPU");
    probe->run = run;
    probe->run_size = (size_t)size;
    return set_cpuid(probe, reason);
}

static int create_probe(struct kvm_probe *probe, struct reason *reason)
{
    probe->vm = ioctl(probe->kvm, KVM_CREATE_VM, 0);
    if (probe->vm < 0)
        return failed(reason, "KVM_CREATE_VM");
    int error = create_memory(probe, reason);
    return error < 0 ? error : create_vcpu(probe, reason);
}

static void destroy_probe(struct kvm_probe *probe)
{
    if (probe->run != NULL)
        (void)munmap(probe->run, probe->run_size);
    cleanup_close(&probe->vcpu);
    cleanup_close(&probe->vm);
    if (probe->ram != NULL)
        (void)munmap(probe->ram, PROBE_GUEST_RAM);
}

static struct kvm_segment kvm_segment_of(const struct engine_segment *segment)
{
    unsigned attributes = segment->attributes;
    return (struct kvm_segment){
        .base = segment->base,
        .limit = segment->limit,
        .selector = segment->selector,
        .type = attributes & SEGMENT_TYPE,
        .s = (attributes & SEGMENT_S) != 0,
        .dpl = (uint8_t)((attributes & SEGMENT_DPL) >> SEGMENT_DPL_SHIFT),
        .present = (attributes & SEGMENT_P) != 0,
        .avl = (attributes & SEGMENT_AVL) != 0,
        .l = (attributes & SEGMENT_L) != 0,
        .db = (attributes & SEGMENT_DB) != 0,
        .g = (attributes & SEGMENT_G) != 0,
    };
}

static int set_system_registers(struct kvm_probe *probe, struct reason *reason)
{
    const struct engine_registers *from = &probe->registers;
    struct kvm_sregs sregs;

    if (ioctl(probe->vcpu, KVM_GET_SREGS, &sregs) < 0)
        return failed(reason, "KVM_GET_SREGS");
    sregs.es = kvm_segment_of(&from->segment[SEGMENT_ES]);
    sregs.cs = kvm_segment_of(&from->segment[SEGMENT_CS]);
    sregs.ss = kvm_segment_of(&from->segment[SEGMENT_SS]);
    sregs.ds = kvm_segment_of(&from->segment[SEGMENT_DS]);
    sregs.fs = kvm_segment_of(&from->segment[SEGMENT_FS]);
    sregs.gs = kvm_segment_of(&from->segment[SEGMENT_GS]);
    sregs.tr = kvm_segment_of(&from->segment[SEGMENT_TR]);
    sregs.gdt = (struct kvm_dtable){.base = from->gdt.base, .limit = from->gdt.limit};
    sregs.idt = (struct kvm_dtable){.base = from->idt.base, .limit = from->idt.limit};
    sregs.cr0 = from->cr0;
    sregs.cr3 = from->cr3;
    sregs.cr4 = from->cr4;
    sregs.efer = from->efer;
    if (ioctl(probe->vcpu, KVM_SET_SREGS, &sregs) < 0)
        return failed(reason, "KVM_SET_SREGS");
    return 0;
}

static int set_registers(struct kvm_probe *probe, uint64_t rounds, struct reason *reason)
{
    const uint64_t *gpr = probe->registers.gpr;

    probe_guest_start(&probe->registers, rounds);
    struct kvm_regs regs = {
        .rsp = gpr[GPR_RSP],
        .rsi = gpr[GPR_RSI],
        .rdi = gpr[GPR_RDI],
        .r8 = gpr[GPR_R8],
        .r9 = gpr[GPR_R9],
        .rip = probe->registers.rip,
        .rflags = probe->registers.rflags,
    };
    int error = set_system_registers(probe, reason);
    if (error == 0 && ioctl(probe->vcpu, KVM_SET_REGS, &regs) < 0)
        error = failed(reason, "KVM_SET_REGS");
    return error;
}

/* 0 when KVM_RUN came back with the loop's last instruction, else -ETIME or a reason. */
static int judge_exit(const struct kvm_probe *probe, int result, struct reason *reason)
{
    const struct kvm_run *run = probe->run;

    if (result < 0 && errno == EINTR)
        return -ETIME;
    if (result < 0)
        return failed(reason, "KVM_RUN");
    if (run->exit_reason == KVM_EXIT_IO && run->io.port == PROBE_GUEST_PORT)
        return 0;
    if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
        return reason_set(reason, -EPROTO, "KVM_RUN gives up on plain 64-bit code (suberror %u)",
                          run->internal.suberror);
    return reason_set(reason, -EPROTO, "KVM_RUN of a plain 64-bit loop ends with exit %u",
                      run->exit_reason);
}

static int run_loop(void *engine, uint64_t rounds, struct probe_run *ret, struct reason *reason)
{
    struct kvm_probe *probe = engine;
    struct kvm_regs regs;

    int error = set_registers(probe, rounds, reason);
    if (error < 0)
        return error;
    uint64_t start = clock_monotonic_ns();
    int result = ioctl(probe->vcpu, KVM_RUN, 0);
    error = judge_exit(probe, result, reason);
    ret->elapsed_ns = clock_monotonic_ns() - start;
    if (error < 0 && error != -ETIME)
        return error;
    if (ioctl(probe->vcpu, KVM_GET_REGS, &regs) < 0)
        return failed(reason, "KVM_GET_REGS");
    ret->instructions = probe_guest_done(rounds, regs.rdi, regs.r8);
    return error;
}

/*
 * The deadline is a signal that is blocked everywhere but inside KVM_RUN, so no handler is needed
 * and it cannot be lost: when it comes early, KVM_RUN returns at once.
 */
static int allow_signal_in_run(const struct kvm_probe *probe, int signal, struct reason *reason)
{
    union {
        struct kvm_signal_mask mask;
        uint8_t bytes[sizeof(struct kvm_signal_mask) + sizeof(uint64_t)];
    } request = {.mask = {.len = sizeof(uint64_t)}};
    uint64_t blocked = ~(UINT64_C(1) << (signal - 1));

    memcpy(request.bytes + sizeof(struct kvm_signal_mask), &blocked, sizeof(blocked));
    if (ioctl(probe->vcpu, KVM_SET_SIGNAL_MASK, &request) < 0)
        return failed(reason, "KVM_SET_SIGNAL_MASK");
    return 0;
}

static int start_deadline(int signal, timer_t *ret, struct reason *reason)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = signal};
    struct itimerspec time = {
        .it_value = {.tv_nsec = PROBE_TIME_NS},
        .it_interval = {.tv_nsec = PROBE_TIME_NS}, /* again, should KVM swallow the first */
    };

    event._sigev_un._tid = (int)syscall(SYS_gettid);
    if (timer_create(CLOCK_MONOTONIC, &event, ret) < 0)
        return failed(reason, "timer_create");
    if (timer_settime(*ret, 0, &time, NULL) == 0)
        return 0;
    int error = failed(reason, "timer_settime");
    (void)timer_delete(*ret);
    return error;
}

static int measure_with_deadline(struct kvm_probe *probe, double *ret_mips, struct reason *reason)
{
    int signal = SIGRTMIN;
    const struct timespec no_wait = {0};
    sigset_t set;
    sigset_t before;
    timer_t timer;

    int error = allow_signal_in_run(probe, signal, reason);
    if (error < 0)
        return error;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, signal);
    (void)pthread_sigmask(SIG_BLOCK, &set, &before);
    error = start_deadline(signal, &timer, reason);
    if (error == 0) {
        error = probe_measure(run_loop, probe, ret_mips, reason);
        (void)timer_delete(timer);
        while (sigtimedwait(&set, NULL, &no_wait) > 0)
            continue;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

int probe_kvm_speed(int kvm, double *ret_mips, struct reason *reason)
{
    struct kvm_probe probe = {.kvm = kvm, .vm = -1, .vcpu = -1};

    int error = create_probe(&probe, reason);
    if (error == 0)
        error = measure_with_deadline(&probe, ret_mips, reason);
    destroy_probe(&probe);
    return error;
}
