/*
 * Model-specific registers. Source: Intel SDM vol. 4 ch. 2.
 *
 * 1. One table names every register that exists; all else is #GP(0), which Linux probes for.
 * 2. A register that CPUID does not announce does not exist.
 * 3. Memory types (MTRRs, PAT) are storage: all guest memory is cached alike. After power-on the
 * MTRRs read as firmware leaves them, for no firmware runs before a kernel that is booted directly,
 * and Linux uses neither PAT nor MTRRs when they are off.
 */
#include "engine/soft/cpuid.h"
#include "engine/soft/partition.h"

enum {
    MSR_P5_MC_ADDR = 0x0,
    MSR_P5_MC_TYPE = 0x1,
    MSR_TSC = 0x10,
    MSR_PLATFORM_ID = 0x17,
    MSR_APIC_BASE = 0x1b,
    MSR_TSC_ADJUST = 0x3b,
    MSR_SPEC_CTRL = 0x48,
    MSR_PRED_CMD = 0x49,
    MSR_UCODE_REV = 0x8b,
    MSR_PLATFORM_INFO = 0xce,
    MSR_MTRR_CAP = 0xfe,
    MSR_ARCH_CAPABILITIES = 0x10a,
    MSR_FLUSH_CMD = 0x10b,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP = 0x175,
    MSR_SYSENTER_EIP = 0x176,
    MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS = 0x17a,
    MSR_MISC_ENABLE = 0x1a0,
    MSR_DEBUGCTL = 0x1d9,
    MSR_MTRR_VARIABLE = 0x200,
    MSR_MTRR_FIX_64K = 0x250,
    MSR_MTRR_FIX_16K = 0x258,
    MSR_MTRR_FIX_4K = 0x268,
    MSR_PAT = 0x277,
    MSR_MTRR_DEFAULT = 0x2ff,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_X2APIC = 0x800,
};

#define MSR_EFER           UINT32_C(0xc0000080)
#define MSR_STAR           UINT32_C(0xc0000081)
#define MSR_LSTAR          UINT32_C(0xc0000082)
#define MSR_CSTAR          UINT32_C(0xc0000083)
#define MSR_SFMASK         UINT32_C(0xc0000084)
#define MSR_FS_BASE        UINT32_C(0xc0000100)
#define MSR_GS_BASE        UINT32_C(0xc0000101)
#define MSR_KERNEL_GS_BASE UINT32_C(0xc0000102)
#define MSR_TSC_AUX        UINT32_C(0xc0000103)

/* Places in cpu->mtrr. */
enum {
    MTRR_VARIABLE_COUNT = 8,
    MTRR_VARIABLE = 0, /* base and mask in turn */
    MTRR_FIXED = MTRR_VARIABLE + 2 * MTRR_VARIABLE_COUNT,
    MTRR_FIXED_COUNT = 11,
    MTRR_DEFAULT = MTRR_FIXED + MTRR_FIXED_COUNT,
};

enum memory_type {
    TYPE_UC = 0,
    TYPE_WC = 1,
    TYPE_WT = 4,
    TYPE_WP = 5,
    TYPE_WB = 6,
    TYPE_UC_MINUS = 7
};

#define PAT_AT_RESET        UINT64_C(0x0007040600070406)
#define MTRR_CAP_FIXED      (UINT64_C(1) << 8)
#define MTRR_CAP_WC         (UINT64_C(1) << 10)
#define MTRR_DEFAULT_FIXED  (UINT64_C(1) << 10)
#define MTRR_DEFAULT_ENABLE (UINT64_C(1) << 11)
#define MTRR_MASK_VALID     (UINT64_C(1) << 11)

/*
 * IA32_MISC_ENABLE: fast strings; no branch trace store, no precise event sampling. What would only
 * take abilities away (MONITOR, CPUID leaves, XD) can be written, and read back, without effect.
 */
#define MISC_ENABLE_FIXED (UINT64_C(1) << 11 | UINT64_C(1) << 12)
#define MISC_ENABLE_WRITABLE                                                       \
    (UINT64_C(1) << 0 | UINT64_C(1) << 3 | UINT64_C(1) << 16 | UINT64_C(1) << 18 | \
     UINT64_C(1) << 22 | UINT64_C(1) << 23 | UINT64_C(1) << 34)
#define MISC_ENABLE_AT_RESET (MISC_ENABLE_FIXED | UINT64_C(1) << 0)

/*
 * IA32_ARCH_CAPABILITIES. Nothing of the guest is executed speculatively past what the host's own
 * mitigations allow, so the guest needs none: RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, SSB_NO,
 * MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO,
 * RFDS_NO, ITS_NO.
 */
#define ARCH_CAPABILITIES                                                            \
    (UINT64_C(1) << 0 | UINT64_C(1) << 1 | UINT64_C(1) << 3 | UINT64_C(1) << 4 |     \
     UINT64_C(1) << 5 | UINT64_C(1) << 6 | UINT64_C(1) << 8 | UINT64_C(1) << 13 |    \
     UINT64_C(1) << 14 | UINT64_C(1) << 15 | UINT64_C(1) << 20 | UINT64_C(1) << 24 | \
     UINT64_C(1) << 26 | UINT64_C(1) << 27 | UINT64_C(1) << 62)

/* What other hypervisors show as well: newer than any revision that software looks for. */
#define UCODE_REVISION (UINT64_C(0xffffffff) << 32)

struct msr;
typedef int (*msr_read_fn)(struct cpu *cpu, const struct msr *msr, uint64_t *ret);
typedef int (*msr_write_fn)(struct cpu *cpu, const struct msr *msr, uint64_t value);

/* CPUID bits that announce a register: leaf, output word (EAX … EDX), bits of which one must be
 * set. */
struct announcement {
    uint32_t leaf;
    uint8_t word;
    uint32_t bits;
};

struct msr {
    uint32_t index;
    uint32_t offset; /* in struct cpu, for stored ones */
    msr_read_fn read;
    msr_write_fn write;
    uint64_t value; /* constants: what is read; stored ones: bits that may be set */
    const struct announcement *announced;
};

static int refuse(struct cpu *cpu)
{
    return fault_code(cpu, VECTOR_GP, 0);
}

static uint64_t *stored(struct cpu *cpu, const struct msr *msr)
{
    return (uint64_t *)(void *)((uint8_t *)cpu + msr->offset);
}

/* ---- plain registers ---- */

static int read_stored(struct cpu *cpu, const struct msr *msr, uint64_t *ret)
{
    *ret = *stored(cpu, msr);
    return STEP_NEXT;
}

static int write_stored(struct cpu *cpu, const struct msr *msr, uint64_t value)
{
    if (value & ~msr->value)
        return refuse(cpu);
    *stored(cpu, msr) = value;
    return STEP_NEXT;
}

static int write_address(struct cpu *cpu, const struct msr *msr, uint64_t value)
{
    if (!is_canonical(value))
        return refuse(cpu);
    *stored(cpu, msr) = value;
    return STEP_NEXT;
}

static int read_constant(struct cpu *cpu, const struct msr *msr, uint64_t *ret)
{
    (void)cpu;
    *ret = msr->value;
    return STEP_NEXT;
}

static int write_nothing(struct cpu *cpu, const struct msr *msr, uint64_t value)
{
    (void)cpu;
    (void)msr;
    (void)value;
    return STEP_NEXT;
}

/* Registers with features that do not exist here: only 0 may be written. */
static int write_zero(struct cpu *cpu, const struct msr *msr, uint64_t value)
{
    (void)msr;
    return value == 0 ? STEP_NEXT : refuse(cpu);
}

static int write_command(struct cpu *cpu, const struct msr *msr, uint64_t value)
{
    return (value & ~msr->value) == 0 ? STEP_NEXT : refuse(cpu);
}

/* ---- time ---- */

static void tsc_moved(struct cpu *cpu)
{
    /* The deadline timer compares with the TSC: have it looked at again. */
    (void)atomic_fetch_or(&cpu->pending, PENDING_TIMER);
}

static int read_tsc(struct cpu *cpu, const struct msr *msr, uint64_t *ret)
{
    (void)msr;
    *ret = guest_tsc(cpu);
    return STEP_NEXT;
}

/* Writing the TSC moves IA32_TSC_ADJUST by as much, Intel SDM vol. 3B § 17.17.3. */
static int write_tsc(struct cpu *cpu, const struct msr *msr, uint64_t value)
{
    (void)msr;
    cpu->tsc_adjust = (int64_t)((uint64_t)cpu->tsc_adjust + value - guest_tsc(cpu));
    tsc_moved(cpu);
    return STEP_NEXT;
}

static int read_tsc_adjust(struct cpu *cpu, const struct msr *msr, uint64_t *ret)
{
    (void)msr;
    *ret = (uint64_t)cpu->tsc_adjust;
    return STEP_NEXT;
}

static int write_tsc_adjust(struct cpu *cpu, const struct msr *msr, uint64_t value)
{
    (void)msr;
    cpu->tsc_adjust = (int64_t)value;
    tsc_moved(cpu);
    return STEP_NEXT;
}

/* Maximum non-turbo ratio, in units of 100 MHz. */
static int read_platform_info(struct cpu *cpu, const struct msr *msr, uint64_t *ret)
{
    (void)msr;
    *ret = (cpu->partition->tsc_hz / 100000000 & 0xff) << 8;
    return STEP_NEXT;
}

/* ---- the local APIC's ---- */

static int read_lapic(struct cpu *cpu, const struct msr *msr, uint64_t *ret)
{
    return lapic_msr_read(cpu, msr->index, ret) ? STEP_NEXT : refuse(cpu);
}

static int write_lapic(struct cpu *cpu, const struct msr *msr, uint64_t value)
{
    return lapic_msr_write(cpu, msr->index, value) ? STEP_NEXT : refuse(cpu);
}

/* ---- modes and segments ---- */

static int write_efer(struct cpu *cpu, const struct msr *msr, uint64_t value)
{
    (void)msr;
    return control_write_efer(cpu, value);
}

static int read_fs_gs(struct cpu *cpu, const struct msr *msr, uint64_t *ret)
{
    *ret = cpu->segment[msr->index == MSR_FS_BASE ? SEGMENT_FS : SEGMENT_GS].base;
    return STEP_NEXT;
}

static int write_fs_gs(struct cpu *cpu, const struct msr *msr, uint64_t value)
{
    if (!is_canonical(value))
        return refuse(cpu);
    cpu->segment[msr->index == MSR_FS_BASE ? SEGMENT_FS : SEGMENT_GS].base = value;
    return STEP_NEXT;
}

static int write_misc_enable(struct cpu *cpu, const struct msr *msr, uint64_t value)
{
    (void)msr;
    if (value & ~(MISC_ENABLE_WRITABLE | MISC_ENABLE_FIXED))
        return refuse(cpu);
    cpu->misc_enable = (value & MISC_ENABLE_WRITABLE) | MISC_ENABLE_FIXED;
    return STEP_NEXT;
}

/* ---- speculation control: the bits that CPUID leaf 7 shows ---- */

enum {
    SPEC_CTRL_IBRS = 1 << 0,
    SPEC_CTRL_STIBP = 1 << 1,
    SPEC_CTRL_SSBD = 1 << 2,
    SPEC_CTRL_BHI_DIS_S = 1 << 10,
};
enum { CPUID7_EDX_FLUSH = 1 << 28 };

static int write_spec_ctrl(struct cpu *cpu, const struct msr *msr, uint64_t value)
{
    uint32_t words[4];
    uint64_t possible = 0;
    (void)msr;
    cpuid_query(cpu, 7, 0, words);
    possible |= (words[3] & CPUID7_EDX_SPEC_CTRL) ? SPEC_CTRL_IBRS : 0;
    possible |= (words[3] & CPUID7_EDX_STIBP) ? SPEC_CTRL_STIBP : 0;
    possible |= (words[3] & CPUID7_EDX_SSBD) ? SPEC_CTRL_SSBD : 0;
    cpuid_query(cpu, 7, 2, words);
    possible |= (words[3] & CPUID72_EDX_BHI_CTRL) ? SPEC_CTRL_BHI_DIS_S : 0;
    if (value & ~possible)
        return refuse(cpu);
    cpu->spec_ctrl = value;
    return STEP_NEXT;
}

/* ---- memory types, Intel SDM vol. 3A § 11.11 and § 11.12 ---- */

static bool is_memory_type(uint64_t type, bool pat)
{
    switch (type) {
    case TYPE_UC:
    case TYPE_WC:
    case TYPE_WT:
    case TYPE_WP:
    case TYPE_WB:
        return true;
    case TYPE_UC_MINUS:
        return pat;
    default:
        return false;
    }
}

static bool are_memory_types(uint64_t value, bool pat)
{
    for (unsigned i = 0; i < 64; i += 8) {
        if (!is_memory_type(value >> i & 0xff, pat))
            return false;
    }
    return true;
}

static int write_pat(struct cpu *cpu, const struct msr *msr, uint64_t value)
{
    (void)msr;
    if (!are_memory_types(value, true))
        return refuse(cpu);
    cpu->pat = value;
    return STEP_NEXT;
}

static int write_mtrr_default(struct cpu *cpu, const struct msr *msr, uint64_t value)
{
    (void)msr;
    if ((value & ~(MTRR_DEFAULT_FIXED | MTRR_DEFAULT_ENABLE | 0xff)) != 0 ||
        !is_memory_type(value & 0xff, false))
        return refuse(cpu);
    cpu->mtrr[MTRR_DEFAULT] = value;
    return STEP_NEXT;
}

/* Place of a fixed or variable MTRR in cpu->mtrr, or -1. */
static int mtrr_place(uint32_t index)
{
    if (index >= MSR_MTRR_VARIABLE && index < MSR_MTRR_VARIABLE + 2 * MTRR_VARIABLE_COUNT)
        return (int)(index - MSR_MTRR_VARIABLE) + MTRR_VARIABLE;
    if (index == MSR_MTRR_FIX_64K)
        return MTRR_FIXED;
    if (index == MSR_MTRR_FIX_16K || index == MSR_MTRR_FIX_16K + 1)
        return (int)(index - MSR_MTRR_FIX_16K) + MTRR_FIXED + 1;
    if (index >= MSR_MTRR_FIX_4K && index < MSR_MTRR_FIX_4K + 8)
        return (int)(index - MSR_MTRR_FIX_4K) + MTRR_FIXED + 3;
    return -1;
}

static bool mtrr_accepts(const struct cpu *cpu, int place, uint64_t value)
{
    uint64_t address = ((UINT64_C(1) << cpu->partition->physical_bits) - 1) & ~UINT64_C(0xfff);
    if (place >= MTRR_FIXED)
        return are_memory_types(value, false);
    if (place & 1)
        return (value & ~(address | MTRR_MASK_VALID)) == 0;
    return (value & ~(address | 0xff)) == 0 && is_memory_type(value & 0xff, false);
}

static int write_mtrr(struct cpu *cpu, int place, uint64_t value)
{
    if (!mtrr_accepts(cpu, place, value))
        return refuse(cpu);
    cpu->mtrr[place] = value;
    return STEP_NEXT;
}

/* Everything write-back but the frame buffer and ROM hole of a PC, 0xA0000 to 0xFFFFF. */
static void reset_mtrrs(struct cpu *cpu)
{
    for (unsigned i = 0; i < sizeof(cpu->mtrr) / sizeof(cpu->mtrr[0]); i++)
        cpu->mtrr[i] = 0;
    for (unsigned i = 0; i < MTRR_FIXED_COUNT; i++)
        cpu->mtrr[MTRR_FIXED + i] = UINT64_C(0x0606060606060606);
    cpu->mtrr[MTRR_FIXED + 2] = 0; /* 0xA0000, uncached */
    for (unsigned i = 3; i < MTRR_FIXED_COUNT; i++)
        cpu->mtrr[MTRR_FIXED + i] = UINT64_C(0x0505050505050505); /* ROM, write-protected */
    cpu->mtrr[MTRR_DEFAULT] = MTRR_DEFAULT_ENABLE | MTRR_DEFAULT_FIXED | TYPE_WB;
}

/* ---- the table ---- */

static const struct announcement ibrs = {7, 3, CPUID7_EDX_SPEC_CTRL};
static const struct announcement speculation = {
    7, 3, CPUID7_EDX_SPEC_CTRL | CPUID7_EDX_STIBP | CPUID7_EDX_SSBD};
static const struct announcement flush = {7, 3, CPUID7_EDX_FLUSH};
static const struct announcement capabilities = {7, 3, CPUID7_EDX_ARCH_CAPABILITIES};
static const struct announcement tsc_adjust = {7, 1, 1 << 1};
static const struct announcement machine_check = {1, 3, 1 << 7 | 1 << 14};
static const struct announcement mtrr = {1, 3, 1 << 12};
static const struct announcement pat = {1, 3, 1 << 16};
static const struct announcement sysenter = {1, 3, 1 << 11};
static const struct announcement long_mode = {0x80000001, 3, 1 << 29};
static const struct announcement tsc_aux = {0x80000001, 3, 1 << 27};
static const struct announcement deadline = {1, 2, 1 << 24};

#define FIELD(name) offsetof(struct cpu, name)
#define ANY_VALUE   UINT64_MAX

static const struct msr msrs[] = {
    {MSR_P5_MC_ADDR, 0, read_constant, write_nothing, 0, &machine_check},
    {MSR_P5_MC_TYPE, 0, read_constant, write_nothing, 0, &machine_check},
    {MSR_TSC, 0, read_tsc, write_tsc, 0, NULL},
    {MSR_PLATFORM_ID, 0, read_constant, NULL, 0, NULL},
    {MSR_APIC_BASE, 0, read_lapic, write_lapic, 0, NULL},
    {MSR_TSC_ADJUST, 0, read_tsc_adjust, write_tsc_adjust, 0, &tsc_adjust},
    {MSR_SPEC_CTRL, FIELD(spec_ctrl), read_stored, write_spec_ctrl, 0, &speculation},
    {MSR_PRED_CMD, 0, NULL, write_command, 1, &ibrs},
    {MSR_UCODE_REV, 0, read_constant, write_nothing, UCODE_REVISION, NULL},
    {MSR_PLATFORM_INFO, 0, read_platform_info, NULL, 0, NULL},
    {MSR_MTRR_CAP, 0, read_constant, NULL, MTRR_VARIABLE_COUNT | MTRR_CAP_FIXED | MTRR_CAP_WC,
     &mtrr},
    {MSR_ARCH_CAPABILITIES, 0, read_constant, NULL, ARCH_CAPABILITIES, &capabilities},
    {MSR_FLUSH_CMD, 0, NULL, write_command, 1, &flush},
    {MSR_SYSENTER_CS, FIELD(sysenter_cs), read_stored, write_stored, UINT32_MAX, &sysenter},
    {MSR_SYSENTER_ESP, FIELD(sysenter_esp), read_stored, write_address, 0, &sysenter},
    {MSR_SYSENTER_EIP, FIELD(sysenter_eip), read_stored, write_address, 0, &sysenter},
    {MSR_MCG_CAP, 0, read_constant, NULL, 0, &machine_check},
    {MSR_MCG_STATUS, 0, read_constant, write_zero, 0, &machine_check},
    {MSR_MISC_ENABLE, FIELD(misc_enable), read_stored, write_misc_enable, 0, NULL},
    {MSR_DEBUGCTL, 0, read_constant, write_zero, 0, NULL},
    {MSR_PAT, FIELD(pat), read_stored, write_pat, 0, &pat},
    {MSR_MTRR_DEFAULT, FIELD(mtrr[MTRR_DEFAULT]), read_stored, write_mtrr_default, 0, &mtrr},
    {MSR_TSC_DEADLINE, 0, read_lapic, write_lapic, 0, &deadline},
    {MSR_EFER, FIELD(efer), read_stored, write_efer, 0, NULL},
    {MSR_STAR, FIELD(star), read_stored, write_stored, ANY_VALUE, &long_mode},
    {MSR_LSTAR, FIELD(lstar), read_stored, write_address, 0, &long_mode},
    {MSR_CSTAR, FIELD(cstar), read_stored, write_address, 0, &long_mode},
    {MSR_SFMASK, FIELD(sfmask), read_stored, write_stored, UINT32_MAX, &long_mode},
    {MSR_FS_BASE, 0, read_fs_gs, write_fs_gs, 0, &long_mode},
    {MSR_GS_BASE, 0, read_fs_gs, write_fs_gs, 0, &long_mode},
    {MSR_KERNEL_GS_BASE, FIELD(kernel_gs_base), read_stored, write_address, 0, &long_mode},
    {MSR_TSC_AUX, FIELD(tsc_aux), read_stored, write_stored, UINT32_MAX, &tsc_aux},
};

static bool is_announced(struct cpu *cpu, const struct announcement *announcement)
{
    uint32_t words[4];
    if (announcement == NULL)
        return true;
    cpuid_query(cpu, announcement->leaf, 0, words);
    return (words[announcement->word] & announcement->bits) != 0;
}

static const struct msr *find(struct cpu *cpu, uint32_t index)
{
    for (size_t i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++) {
        if (msrs[i].index == index)
            return is_announced(cpu, msrs[i].announced) ? &msrs[i] : NULL;
    }
    return NULL;
}

static bool is_x2apic(uint32_t index)
{
    return index >= MSR_X2APIC && index < MSR_X2APIC + 0x40;
}

/* Left to the caller of run(). */
static bool is_callers(const struct cpu *cpu, uint32_t index)
{
    const struct engine_config *config = &cpu->partition->config;
    return config->exit_msr_last != 0 && index >= config->exit_msr_first &&
           index <= config->exit_msr_last;
}

int msr_read(struct cpu *cpu, uint32_t index, uint64_t *ret)
{
    if (is_callers(cpu, index))
        return exit_read(cpu, ENGINE_EXIT_MSR_READ, index, 8, ret);
    if (is_x2apic(index))
        return lapic_msr_read(cpu, index, ret) ? STEP_NEXT : refuse(cpu);
    int place = mtrr_place(index);
    if (place >= 0 && is_announced(cpu, &mtrr)) {
        *ret = cpu->mtrr[place];
        return STEP_NEXT;
    }
    const struct msr *msr = find(cpu, index);
    if (msr == NULL || msr->read == NULL)
        return refuse(cpu);
    return msr->read(cpu, msr, ret);
}

int msr_write(struct cpu *cpu, uint32_t index, uint64_t value)
{
    if (is_callers(cpu, index))
        return exit_write(cpu, ENGINE_EXIT_MSR_WRITE, index, 8, value);
    if (is_x2apic(index))
        return lapic_msr_write(cpu, index, value) ? STEP_NEXT : refuse(cpu);
    int place = mtrr_place(index);
    if (place >= 0 && is_announced(cpu, &mtrr))
        return write_mtrr(cpu, place, value);
    const struct msr *msr = find(cpu, index);
    if (msr == NULL || msr->write == NULL)
        return refuse(cpu);
    return msr->write(cpu, msr, value);
}

/* INIT leaves all of these as they are, Intel SDM vol. 3A table 9-1. */
void msr_reset(struct cpu *cpu, bool init)
{
    if (init)
        return;
    cpu->star = 0;
    cpu->lstar = 0;
    cpu->cstar = 0;
    cpu->sfmask = 0;
    cpu->kernel_gs_base = 0;
    cpu->sysenter_cs = 0;
    cpu->sysenter_esp = 0;
    cpu->sysenter_eip = 0;
    cpu->tsc_aux = 0;
    cpu->tsc_adjust = 0;
    cpu->spec_ctrl = 0;
    cpu->misc_enable = MISC_ENABLE_AT_RESET;
    cpu->pat = PAT_AT_RESET;
    reset_mtrrs(cpu);
}
