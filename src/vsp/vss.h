/*
 * Volume shadow copy: hv_vss_daemon freezes the guest's file systems, so that its disks can be
 * copied as one whole, and thaws them. Whoever asked, and whatever becomes of him: the host thaws
 * them within ten seconds of the request to freeze. Loop thread.
 */
#ifndef VSP_VSS_H
#define VSP_VSS_H

#include "vsp/ic.h"

struct vss;

/* After these the guest is told to thaw: it needs a moment for it. */
#define VSS_LIMIT_NS (UINT64_C(9) * 1000000000)

typedef void (*vss_answered)(void *owner, int error, const struct reason *reason);

int vss_create(const struct ic_host *host, struct vss **ret);
void vss_destroy(struct vss *vss);
struct ic *vss_ic(struct vss *vss);
/* Between a request to freeze and the answer to one to thaw. */
bool vss_is_frozen(const struct vss *vss);
/*
 * 0: `answered` will be called, once. A freeze that fails or takes too long is taken back. A thaw
 * that comes after the host's own ends with -EIO: what was copied meanwhile is not whole.
 */
int vss_freeze(struct vss *vss, vss_answered answered, void *owner, struct reason *reason);
int vss_thaw(struct vss *vss, vss_answered answered, void *owner, struct reason *reason);

#endif
