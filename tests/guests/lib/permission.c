/* See permission.h. */
#include "permission.h"

#include "cpu.h"
#include "tap.h"

#ifdef __x86_64__
#    define DI "%rdi"
#    define SP "%rsp"
#    define AX "%rax"
#else
#    define DI "%edi"
#    define SP "%esp"
#    define AX "%eax"
#endif

SNIPPET(read_page, "", "mov (" DI "), %al", "");
SNIPPET(write_page, "mov $0xc3, %al", "mov %al, (" DI ")", "");
SNIPPET(fetch_page, "", "call *" DI, "");
SNIPPET(read_page_ac, "pushf; orl $0x40000, (" SP "); popf", "mov (" DI "), %al", "");
SNIPPET(write_page_ac, "pushf; orl $0x40000, (" SP "); popf; mov $0xc3, %al", "mov %al, (" DI ")",
        "");
SNIPPET(fetch_page_ac, "pushf; orl $0x40000, (" SP "); popf", "call *" DI, "");

static bool user_page_open(struct access_mode mode)
{
    return mode.user || !mode.smap || mode.ac;
}

static bool data_allowed(struct page_rights page, struct access_mode mode, bool write)
{
    if (mode.user && !page.user)
        return false;
    if (page.user && !user_page_open(mode))
        return false;
    return !write || page.writable || (!mode.user && !mode.wp);
}

static bool fetch_allowed(struct page_rights page, struct access_mode mode)
{
    if (mode.nxe && page.no_execute)
        return false;
    return mode.user ? page.user : !(page.user && mode.smep);
}

bool access_allowed(struct page_rights page, struct access_mode mode, enum access access,
                    word *ret_error)
{
    bool allowed =
        access == FETCH ? fetch_allowed(page, mode) : data_allowed(page, mode, access == WRITE);

    *ret_error = 0;
    if (!allowed)
        *ret_error = (word)(PF_P | (access == WRITE ? PF_W : 0) | (mode.user ? PF_U : 0) |
                            (access == FETCH && (mode.nxe || mode.smep) ? PF_I : 0));
    return allowed;
}

void set_access_mode(struct access_mode mode)
{
    word cr4 = read_cr4() & ~(CR4_SMEP | CR4_SMAP);
    write_cr4(cr4 | (mode.smep ? CR4_SMEP : 0) | (mode.smap ? CR4_SMAP : 0));
    write_cr0((read_cr0() & ~CR0_WP) | (mode.wp ? CR0_WP : 0));
}

const struct trap *try_access(struct access_mode mode, enum access access, word address)
{
    static const struct snippet *const plain[] = {&read_page, &write_page, &fetch_page};
    static const struct snippet *const with_ac[] = {&read_page_ac, &write_page_ac, &fetch_page_ac};

    return trial_in(mode.user ? USER : KERNEL, (mode.ac ? with_ac : plain)[access], address);
}

/* Returns whether the CPU did as the rules say; prints what was wrong. */
static bool follows_rules(struct page_rights page, struct access_mode mode, enum access access,
                          word address)
{
    word error;
    bool allowed = access_allowed(page, mode, access, &error);
    const struct trap *trap = try_access(mode, access, address);
    bool good = allowed ? trap->vector == NO_TRAP
                        : trap->vector == PF && trap->error == error && trap->cr2 == address;

    if (!good)
        note("  wp %u smep %u smap %u ac %u: is %s(%lx) cr2 %lx, should be %s(%lx)", mode.wp,
             mode.smep, mode.smap, mode.ac, trap_name(trap->vector), trap->error, trap->cr2,
             allowed ? "no trap" : "#PF", error);
    return good;
}

static bool nx_in_use(void)
{
    return (read_cr4() & CR4_PAE) && (read_msr(MSR_EFER) & EFER_NXE);
}

static void check_access(struct page_rights page, enum access access, bool user,
                         volatile void *address, const char *where)
{
    static const char *const names[] = {"read", "write", "fetch"};
    unsigned wrong = 0;

    for (unsigned bits = 0; bits < 16; bits++) {
        struct access_mode mode = {user, bits & 1, bits & 2, bits & 4, bits & 8, nx_in_use()};
        if ((mode.smep && !HAS_SMEP) || (mode.smap && !HAS_SMAP))
            continue;
        set_access_mode(mode);
        wrong += !follows_rules(page, mode, access, (word)address);
    }
    set_access_mode((struct access_mode){.wp = true});
    check(wrong == 0, "%s: %s in ring %u", where, names[access], user ? 3 : 0);
}

void check_permissions(struct page_rights page, volatile void *address, const char *where)
{
    for (unsigned access = READ; access < ACCESSES; access++) {
        check_access(page, access, false, address, where);
        check_access(page, access, true, address, where);
    }
}
