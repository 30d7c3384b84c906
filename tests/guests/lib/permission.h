/*
 * What paging allows: the rules of Intel SDM vol. 3A § 4.6.1 and the error code of § 4.7 as one
 * function, and the loop that holds the CPU against it for every combination.
 */
#ifndef GUEST_PERMISSION_H
#define GUEST_PERMISSION_H

#include "trial.h"

enum access { READ, WRITE, FETCH, ACCESSES };

struct page_rights { /* the combination over all levels of the tables */
    bool user, writable, no_execute;
};

struct access_mode { /* how the processor is set up */
    bool user;       /* CPL 3 */
    bool wp, smep, smap, ac, nxe;
};

/* True when the access is allowed; otherwise *ret_error is the page-fault error code. */
bool access_allowed(struct page_rights page, struct access_mode mode, enum access access,
                    word *ret_error);

/*
 * Tries every access in every mode on one page. `address` holds a RET instruction (0xc3), and
 * `where` names the page in the results. One check an access and ring.
 */
void check_permissions(struct page_rights page, volatile void *address, const char *where);

/* CR4.SMEP, CR4.SMAP and CR0.WP as they are, for one mode. */
void set_access_mode(struct access_mode mode);

/* The access itself; its trap. */
const struct trap *try_access(struct access_mode mode, enum access access, word address);

#endif
