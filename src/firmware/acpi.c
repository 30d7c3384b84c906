#include "firmware/acpi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "dsdt.inc" /* dsdt_aml_code: dsdt.asl, compiled */
#include "firmware/acpi_table.h"
#include "firmware/area.h"
#include "pci.inc"   /* pci_aml_code: pci.asl, compiled */
#include "vmbus.inc" /* vmbus_aml_code: vmbus.asl, compiled */

/* An xAPIC id of 255 means all processors. */
enum { MAX_PROCESSORS = 254 };

/* RSDP: ACPI 6.3 § 5.2.5.3. */
enum {
    RSDP_CHECKSUM = 8,
    RSDP_OEM_ID = 9,
    RSDP_REVISION = 15,
    RSDP_RSDT = 16,
    RSDP_LENGTH = 20,
    RSDP_XSDT = 24,
    RSDP_EXTENDED_CHECKSUM = 32,
    RSDP_SIZE_OF_1_0 = 20,
    RSDP_SIZE = 36,
};

/* FADT: § 5.2.9, table 5-33. */
enum {
    FADT_FIRMWARE_CTRL = 36,
    FADT_DSDT = 40,
    FADT_SCI_INT = 46,
    FADT_PM1A_EVT_BLK = 56,
    FADT_PM1A_CNT_BLK = 64,
    FADT_PM_TMR_BLK = 76,
    FADT_PM1_EVT_LEN = 88,
    FADT_PM1_CNT_LEN = 89,
    FADT_PM_TMR_LEN = 91,
    FADT_P_LVL2_LAT = 96,
    FADT_P_LVL3_LAT = 98,
    FADT_CENTURY = 108,
    FADT_IAPC_BOOT_ARCH = 109,
    FADT_FLAGS = 112,
    FADT_RESET_REG = 116,
    FADT_RESET_VALUE = 128,
    FADT_MINOR_VERSION = 131,
    FADT_X_DSDT = 140,
    FADT_X_PM1A_EVT_BLK = 148,
    FADT_X_PM1A_CNT_BLK = 172,
    FADT_X_PM_TMR_BLK = 208,
    FADT_SIZE = 276,
};

enum {
    /* § 5.2.9, table 5-34. The power button is a fixed one: its flag stays clear. */
    FLAG_WBINVD = 1 << 0,
    FLAG_PROC_C1 = 1 << 2,
    FLAG_SLP_BUTTON = 1 << 5, /* no fixed sleep button */
    FLAG_FIX_RTC = 1 << 6,    /* the RTC does not wake by a fixed register */
    FLAG_TMR_VAL_EXT = 1 << 8,
    FLAG_RESET_REG_SUP = 1 << 10,
    /* § 5.2.9.3: ISA devices, no keyboard controller, no VGA, an RTC. */
    ARCH_LEGACY_DEVICES = 1 << 0,
    ARCH_VGA_NOT_PRESENT = 1 << 2,
    /* § 5.2.9: worse than these means that the state is not there. */
    NO_C2_LATENCY = 101,
    NO_C3_LATENCY = 1001,
    RTC_CENTURY_REGISTER = 0x32,
};

/* MADT: § 5.2.12. */
enum {
    MADT_LOCAL_APIC = 36,
    MADT_FLAGS = 40,
    MADT_ENTRIES = 44,
    MADT_PCAT_COMPAT = 1, /* the 8259 pair is there as well */
    ENTRY_LOCAL_APIC = 0,
    ENTRY_LOCAL_APIC_SIZE = 8,
    ENTRY_IOAPIC = 1,
    ENTRY_IOAPIC_SIZE = 12,
    ENTRY_OVERRIDE = 2,
    ENTRY_OVERRIDE_SIZE = 10,
    ENTRY_NMI = 4,
    ENTRY_NMI_SIZE = 6,
    OVERRIDES = 2,
    LEVEL_ACTIVE_HIGH = 0x0d,
    ALL_PROCESSORS = 0xff,
    PIT_GSI = 2, /* as on every PC: the IOAPIC's pin 0 is the 8259 */
};
#define LOCAL_APIC_GPA UINT32_C(0xfee00000)

enum { FACS_SIZE = 64, FACS_LENGTH = 4, FACS_VERSION = 32 };

/* Generic address structure: § 5.2.3.2. */
enum { ACCESS_BYTE = 1, ACCESS_WORD = 2, ACCESS_DWORD = 3 };

struct tables {
    const struct acpi_config *config;
    struct acpi_area *area;
    uint64_t facs, dsdt;
    size_t listed;
    uint64_t list[5]; /* what XSDT and RSDT name */
};

static void put_port(uint8_t *at, uint16_t port, uint8_t bits, uint8_t access)
{
    at[0] = 1; /* system I/O */
    at[1] = bits;
    at[3] = access;
    put_le64(at + 4, port);
}

static int add_facs(struct tables *tables)
{
    uint8_t *facs = acpi_area_add(tables->area, FACS_SIZE);
    if (facs == NULL)
        return -ENOSPC;
    acpi_put_text(facs, "FACS", 4);
    put_le32(facs + FACS_LENGTH, FACS_SIZE);
    facs[FACS_VERSION] = 2;
    tables->facs = acpi_area_gpa(tables->area, facs);
    return 0;
}

static int add_dsdt(struct tables *tables)
{
    uint8_t *dsdt = acpi_area_add(tables->area, sizeof(dsdt_aml_code));
    if (dsdt == NULL)
        return -ENOSPC;
    memcpy(dsdt, dsdt_aml_code, sizeof(dsdt_aml_code));
    tables->dsdt = acpi_area_gpa(tables->area, dsdt);
    return 0;
}

static uint8_t *add_listed(struct tables *tables, size_t size)
{
    uint8_t *table = acpi_area_add(tables->area, size);
    if (table != NULL)
        tables->list[tables->listed++] = acpi_area_gpa(tables->area, table);
    return table;
}

static void put_power_registers(const struct acpi_config *config, uint8_t *fadt)
{
    put_le16(fadt + FADT_SCI_INT, config->sci_gsi);
    put_le32(fadt + FADT_PM1A_EVT_BLK, config->pm1_event_port);
    put_le32(fadt + FADT_PM1A_CNT_BLK, config->pm1_control_port);
    put_le32(fadt + FADT_PM_TMR_BLK, config->pm_timer_port);
    fadt[FADT_PM1_EVT_LEN] = 4;
    fadt[FADT_PM1_CNT_LEN] = 2;
    fadt[FADT_PM_TMR_LEN] = 4;
    put_port(fadt + FADT_X_PM1A_EVT_BLK, config->pm1_event_port, 32, ACCESS_WORD);
    put_port(fadt + FADT_X_PM1A_CNT_BLK, config->pm1_control_port, 16, ACCESS_WORD);
    put_port(fadt + FADT_X_PM_TMR_BLK, config->pm_timer_port, 32, ACCESS_DWORD);
    put_port(fadt + FADT_RESET_REG, config->reset_port, 8, ACCESS_BYTE);
    fadt[FADT_RESET_VALUE] = config->reset_value;
}

/* No SMI command port: the machine is in ACPI mode from the start. */
static int add_fadt(struct tables *tables)
{
    uint8_t *fadt = add_listed(tables, FADT_SIZE);
    if (fadt == NULL)
        return -ENOSPC;
    acpi_table_begin(fadt, "FACP", 6, FADT_SIZE);
    fadt[FADT_MINOR_VERSION] = 3;
    put_le32(fadt + FADT_FIRMWARE_CTRL, (uint32_t)tables->facs);
    put_le32(fadt + FADT_DSDT, (uint32_t)tables->dsdt);
    put_le64(fadt + FADT_X_DSDT, tables->dsdt);
    put_power_registers(tables->config, fadt);
    put_le16(fadt + FADT_P_LVL2_LAT, NO_C2_LATENCY);
    put_le16(fadt + FADT_P_LVL3_LAT, NO_C3_LATENCY);
    fadt[FADT_CENTURY] = RTC_CENTURY_REGISTER;
    put_le16(fadt + FADT_IAPC_BOOT_ARCH, ARCH_LEGACY_DEVICES | ARCH_VGA_NOT_PRESENT);
    put_le32(fadt + FADT_FLAGS, FLAG_WBINVD | FLAG_PROC_C1 | FLAG_SLP_BUTTON | FLAG_FIX_RTC |
                                    FLAG_TMR_VAL_EXT | FLAG_RESET_REG_SUP);
    acpi_table_finish(fadt, FADT_SIZE);
    return 0;
}

static uint8_t *put_entry(uint8_t *at, uint8_t type, uint8_t size)
{
    at[0] = type;
    at[1] = size;
    return at + size;
}

static uint8_t *put_processors(uint8_t *at, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint8_t *next = put_entry(at, ENTRY_LOCAL_APIC, ENTRY_LOCAL_APIC_SIZE);
        at[2] = (uint8_t)i;  /* the _UID in the name space */
        at[3] = (uint8_t)i;  /* APIC id */
        put_le32(at + 4, 1); /* enabled */
        at = next;
    }
    return at;
}

static uint8_t *put_override(uint8_t *at, uint8_t irq, uint8_t gsi, uint16_t flags)
{
    at[3] = irq;
    put_le32(at + 4, gsi);
    put_le16(at + 8, flags);
    return put_entry(at, ENTRY_OVERRIDE, ENTRY_OVERRIDE_SIZE);
}

static int add_madt(struct tables *tables)
{
    const struct acpi_config *config = tables->config;
    size_t size = MADT_ENTRIES + (size_t)config->cpu_count * ENTRY_LOCAL_APIC_SIZE +
                  ENTRY_IOAPIC_SIZE + (size_t)OVERRIDES * ENTRY_OVERRIDE_SIZE + ENTRY_NMI_SIZE;
    uint8_t *madt = add_listed(tables, size);
    if (madt == NULL)
        return -ENOSPC;
    acpi_table_begin(madt, "APIC", 5, size);
    put_le32(madt + MADT_LOCAL_APIC, LOCAL_APIC_GPA);
    put_le32(madt + MADT_FLAGS, MADT_PCAT_COMPAT);
    uint8_t *at = put_processors(madt + MADT_ENTRIES, config->cpu_count);
    put_le32(at + 4, (uint32_t)config->ioapic_gpa);
    at = put_entry(at, ENTRY_IOAPIC, ENTRY_IOAPIC_SIZE);
    at = put_override(at, 0, PIT_GSI, 0);
    at = put_override(at, config->sci_gsi, config->sci_gsi, LEVEL_ACTIVE_HIGH);
    at[2] = ALL_PROCESSORS;
    at[5] = 1; /* LINT1 */
    (void)put_entry(at, ENTRY_NMI, ENTRY_NMI_SIZE);
    acpi_table_finish(madt, size);
    return 0;
}

static int add_processors(struct tables *tables)
{
    uint8_t *ssdt = add_listed(tables, acpi_processors_size(tables->config->cpu_count));
    if (ssdt == NULL)
        return -ENOSPC;
    acpi_processors_fill(ssdt, tables->config->cpu_count);
    return 0;
}

static int add_compiled(struct tables *tables, const uint8_t *code, size_t size)
{
    uint8_t *ssdt = add_listed(tables, size);
    if (ssdt == NULL)
        return -ENOSPC;
    memcpy(ssdt, code, size);
    return 0;
}

static int add_buses(struct tables *tables)
{
    int r = 0;
    if (tables->config->pci)
        r = add_compiled(tables, pci_aml_code, sizeof(pci_aml_code));
    if (r == 0 && tables->config->vmbus)
        r = add_compiled(tables, vmbus_aml_code, sizeof(vmbus_aml_code));
    return r;
}

/* XSDT (8 bytes an entry), or RSDT (4) for readers that stopped at ACPI 1.0: § 5.2.7, 5.2.8. */
static int add_root(struct tables *tables, const char *signature, size_t entry_size,
                    uint64_t *ret_gpa)
{
    size_t size = ACPI_HEADER_SIZE + tables->listed * entry_size;
    uint8_t *root = acpi_area_add(tables->area, size);
    if (root == NULL)
        return -ENOSPC;
    acpi_table_begin(root, signature, 1, size);
    for (size_t i = 0; i < tables->listed; i++)
        memcpy(root + ACPI_HEADER_SIZE + i * entry_size, &tables->list[i], entry_size);
    acpi_table_finish(root, size);
    *ret_gpa = acpi_area_gpa(tables->area, root);
    return 0;
}

static void fill_rsdp(uint8_t *rsdp, uint64_t rsdt, uint64_t xsdt)
{
    acpi_put_text(rsdp, "RSD PTR ", 8);
    acpi_put_text(rsdp + RSDP_OEM_ID, ACPI_OEM_ID, 6);
    rsdp[RSDP_REVISION] = 2;
    put_le32(rsdp + RSDP_RSDT, (uint32_t)rsdt);
    put_le32(rsdp + RSDP_LENGTH, RSDP_SIZE);
    put_le64(rsdp + RSDP_XSDT, xsdt);
    acpi_set_checksum(rsdp, RSDP_SIZE_OF_1_0, RSDP_CHECKSUM);
    acpi_set_checksum(rsdp, RSDP_SIZE, RSDP_EXTENDED_CHECKSUM);
}

static int add_all(struct tables *tables)
{
    uint64_t rsdt;
    uint64_t xsdt;
    uint8_t *rsdp = acpi_area_add(tables->area, RSDP_SIZE);
    int r = rsdp != NULL ? add_facs(tables) : -ENOSPC;
    if (r == 0)
        r = add_dsdt(tables);
    if (r == 0)
        r = add_fadt(tables);
    if (r == 0)
        r = add_madt(tables);
    if (r == 0)
        r = add_processors(tables);
    if (r == 0)
        r = add_buses(tables);
    if (r == 0)
        r = add_root(tables, "RSDT", 4, &rsdt);
    if (r == 0)
        r = add_root(tables, "XSDT", 8, &xsdt);
    if (r == 0)
        fill_rsdp(rsdp, rsdt, xsdt);
    return r;
}

int acpi_build(struct mem *mem, const struct acpi_config *config, uint64_t *ret_rsdp_gpa,
               struct reason *reason)
{
    if (config->cpu_count == 0 || config->cpu_count > MAX_PROCESSORS)
        return reason_set(reason, -EINVAL, "ACPI tables are for 1 to %d processors, not %u",
                          MAX_PROCESSORS, config->cpu_count);
    auto_free struct acpi_area *area = calloc(1, sizeof(*area));
    if (area == NULL)
        return reason_set(reason, -ENOMEM, "no memory to build the ACPI tables in");
    area->gpa = AREA_ACPI;
    struct tables tables = {.config = config, .area = area};
    int r = add_all(&tables);
    if (r < 0)
        return reason_set(reason, r, "the ACPI tables do not fit their area");
    r = mem_write(mem, AREA_ACPI, area->bytes, area->used);
    if (r < 0)
        return reason_set(reason, r, "no memory at 0x%x for the ACPI tables", (unsigned)AREA_ACPI);
    *ret_rsdp_gpa = AREA_ACPI;
    return 0;
}
