/*
 * PCI configuration space by mechanism 1 (PCI Local Bus Specification 3.0 § 3.2.2.3.2): a host
 * bridge, and the video device that guests of Hyper-V without EFI look for before they use their
 * synthetic video (Linux drivers/video/fbdev/hyperv_fb.c). Neither has a function of its own: the
 * video memory lies where its BAR is at the start, wherever the guest moves the BAR to.
 */
#ifndef CHIPSET_PCI_H
#define CHIPSET_PCI_H

#include "chipset/device.h"

struct pci;

enum { PCI_ADDRESS_PORT = 0xcf8, PCI_DATA_PORT = 0xcfc, PCI_PORT_COUNT = 8 };

/* The size is a power of two. */
int pci_create(uint64_t video_gpa, uint64_t video_size, struct pci **ret);
void pci_destroy(struct pci *pci);
void pci_reset(struct pci *pci);
int pci_visit_state(struct pci *pci, struct state_visitor *visitor);
/* `offset` is from PCI_ADDRESS_PORT on; the byte at 1 is not its own (chipset/reset.h). */
uint64_t pci_port_read(const struct pci *pci, uint64_t offset, unsigned size);
void pci_port_write(struct pci *pci, uint64_t offset, unsigned size, uint64_t value);

#endif
