/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "firmware/acpi.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"

#define MIB UINT64_C(0x100000)

static const struct acpi_config typical = {
    .cpu_count = 4,
    .ioapic_gpa = 0xfec00000,
    .pm1_event_port = 0x600,
    .pm1_control_port = 0x604,
    .pm_timer_port = 0x608,
    .reset_port = 0xcf9,
    .reset_value = 6,
    .sci_gsi = 9,
};

static struct mem *build(unsigned cpu_count, uint64_t *ret_rsdp)
{
    struct mem *mem;
    struct acpi_config config = typical;
    config.cpu_count = cpu_count;
    assert_int_equal(mem_create(MIB, MIB, &mem), 0);
    assert_int_equal(acpi_build(mem, &config, ret_rsdp, NULL), 0);
    return mem;
}

static uint8_t sum(const uint8_t *bytes, size_t length)
{
    unsigned total = 0;
    for (size_t i = 0; i < length; i++)
        total += bytes[i];
    return (uint8_t)total;
}

/* A whole table within the area, with this signature and a right checksum. */
static const uint8_t *table_at(struct mem *mem, uint64_t gpa, const char *signature)
{
    assert_true(gpa >= 0xe0000 && gpa < 0xf0000);
    uint32_t length = get_le32(mem_pin(mem, gpa, 8) + 4);
    assert_true(length >= 36 && gpa + length <= 0xf0000);
    const uint8_t *table = mem_pin(mem, gpa, length);
    assert_memory_equal(table, signature, 4);
    assert_int_equal(sum(table, length), 0);
    return table;
}

static const uint8_t *find_table(struct mem *mem, uint64_t rsdp, const char *signature)
{
    const uint8_t *xsdt = table_at(mem, get_le64(mem_pin(mem, rsdp, 36) + 24), "XSDT");
    uint32_t length = get_le32(xsdt + 4);
    for (uint32_t at = 36; at < length; at += 8) {
        uint64_t gpa = get_le64(xsdt + at);
        if (memcmp(mem_pin(mem, gpa, 4), signature, 4) == 0)
            return table_at(mem, gpa, signature);
    }
    fail_msg("no %s", signature);
    return NULL;
}

/* The last of those with its name: the processors' table comes first. */
static const uint8_t *last_table(struct mem *mem, uint64_t rsdp)
{
    const uint8_t *xsdt = table_at(mem, get_le64(mem_pin(mem, rsdp, 36) + 24), "XSDT");
    uint32_t length = get_le32(xsdt + 4);
    return table_at(mem, get_le64(xsdt + length - 8), "SSDT");
}

static void root_pointer_can_be_found_and_has_both_sums(void **state)
{
    (void)state;
    uint64_t gpa = 0;
    struct mem *mem = build(4, &gpa);
    assert_int_equal(gpa % 16, 0);
    assert_true(gpa >= 0xe0000 && gpa < 0x100000);
    const uint8_t *rsdp = mem_pin(mem, gpa, 36);
    assert_memory_equal(rsdp, "RSD PTR ", 8);
    assert_int_equal(rsdp[15], 2);
    assert_int_equal(get_le32(rsdp + 20), 36);
    assert_int_equal(sum(rsdp, 20), 0);
    assert_int_equal(sum(rsdp, 36), 0);
    mem_destroy(mem);
}

static void rsdt_and_xsdt_name_the_same_tables(void **state)
{
    (void)state;
    uint64_t gpa = 0;
    struct mem *mem = build(4, &gpa);
    const uint8_t *rsdp = mem_pin(mem, gpa, 36);
    const uint8_t *rsdt = table_at(mem, get_le32(rsdp + 16), "RSDT");
    const uint8_t *xsdt = table_at(mem, get_le64(rsdp + 24), "XSDT");
    assert_int_equal(get_le32(rsdt + 4), 36 + 3 * 4);
    assert_int_equal(get_le32(xsdt + 4), 36 + 3 * 8);
    static const char *const signatures[] = {"FACP", "APIC", "SSDT"};
    for (size_t i = 0; i < 3; i++) {
        uint64_t table = get_le64(xsdt + 36 + i * 8);
        assert_int_equal(get_le32(rsdt + 36 + i * 4), table);
        (void)table_at(mem, table, signatures[i]);
    }
    mem_destroy(mem);
}

static void fadt_names_the_registers_it_was_given(void **state)
{
    (void)state;
    uint64_t gpa = 0;
    struct mem *mem = build(1, &gpa);
    const uint8_t *fadt = find_table(mem, gpa, "FACP");
    assert_int_equal(get_le32(fadt + 4), 276);
    assert_int_equal(fadt[8], 6);
    assert_int_equal(get_le16(fadt + 46), 9);
    assert_int_equal(get_le32(fadt + 48), 0);
    assert_int_equal(get_le32(fadt + 56), 0x600);
    assert_int_equal(get_le64(fadt + 148 + 4), 0x600);
    assert_int_equal(get_le32(fadt + 64), 0x604);
    assert_int_equal(get_le64(fadt + 172 + 4), 0x604);
    assert_int_equal(get_le32(fadt + 76), 0x608);
    assert_int_equal(get_le64(fadt + 208 + 4), 0x608);
    assert_int_equal(get_le32(fadt + 112) & 1 << 8, 1 << 8);
    assert_int_equal(get_le32(fadt + 112) & 1 << 10, 1 << 10);
    assert_int_equal(fadt[116], 1);
    assert_int_equal(get_le64(fadt + 116 + 4), 0xcf9);
    assert_int_equal(fadt[128], 6);
    (void)table_at(mem, get_le64(fadt + 140), "DSDT");
    assert_int_equal(get_le32(fadt + 40), get_le64(fadt + 140));
    const uint8_t *facs = mem_pin(mem, get_le32(fadt + 36), 64);
    assert_memory_equal(facs, "FACS", 4);
    assert_int_equal(get_le32(fadt + 36) % 64, 0);
    mem_destroy(mem);
}

/* How many entries of a type; the last one's bytes go to ret. The entries must fill the table. */
static unsigned count_entries(const uint8_t *madt, uint8_t type, uint8_t *ret)
{
    unsigned count = 0;
    uint32_t at = 44;
    while (at < get_le32(madt + 4)) {
        assert_true(madt[at + 1] >= 6);
        if (madt[at] == type) {
            memcpy(ret, madt + at, madt[at + 1]);
            count++;
        }
        at += madt[at + 1];
    }
    assert_int_equal(at, get_le32(madt + 4));
    return count;
}

static void madt_lists_processors_ioapic_and_overrides(void **state)
{
    (void)state;
    static const unsigned counts[] = {1, 2, 64, 254};
    for (size_t i = 0; i < 4; i++) {
        uint64_t gpa = 0;
        uint8_t entry[64] = {0};
        struct mem *mem = build(counts[i], &gpa);
        const uint8_t *madt = find_table(mem, gpa, "APIC");
        assert_int_equal(get_le32(madt + 36), 0xfee00000);
        assert_int_equal(count_entries(madt, 0, entry), counts[i]);
        assert_int_equal(entry[2], counts[i] - 1);
        assert_int_equal(entry[3], counts[i] - 1);
        assert_int_equal(get_le32(entry + 4), 1);
        assert_int_equal(count_entries(madt, 1, entry), 1);
        assert_int_equal(get_le32(entry + 4), 0xfec00000);
        assert_int_equal(get_le32(entry + 8), 0);
        assert_int_equal(count_entries(madt, 2, entry), 2);
        assert_int_equal(entry[3], 9);
        assert_int_equal(get_le32(entry + 4), 9);
        assert_int_equal(get_le16(entry + 8), 0x0d);
        assert_int_equal(count_entries(madt, 4, entry), 1);
        assert_int_equal(entry[2], 0xff);
        assert_int_equal(entry[5], 1);
        mem_destroy(mem);
    }
}

static void nothing_is_written_outside_the_area(void **state)
{
    (void)state;
    uint64_t gpa = 0;
    struct mem *mem = build(254, &gpa);
    const uint8_t *bytes = mem_pin(mem, 0, MIB);
    for (uint64_t i = 0; i < 0xe0000; i++)
        assert_int_equal(bytes[i], 0);
    for (uint64_t i = 0xf0000; i < MIB; i++)
        assert_int_equal(bytes[i], 0);
    mem_destroy(mem);
}

static void impossible_processor_counts_are_refused(void **state)
{
    (void)state;
    static const unsigned counts[] = {0, 255, 0xffffffff};
    struct mem *mem;
    assert_int_equal(mem_create(MIB, MIB, &mem), 0);
    for (size_t i = 0; i < 3; i++) {
        struct acpi_config config = typical;
        struct reason reason = {{0}};
        uint64_t gpa = 1;
        config.cpu_count = counts[i];
        assert_int_equal(acpi_build(mem, &config, &gpa, &reason), -EINVAL);
        assert_int_equal(gpa, 1);
        assert_non_null(strstr(reason.text, "1 to 254 processors"));
    }
    mem_destroy(mem);
}

static void save(const char *folder, const char *name, const uint8_t *table)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "wbe");
    assert_non_null(file);
    assert_int_equal(fwrite(table, 1, get_le32(table + 4), file), get_le32(table + 4));
    assert_int_equal(fclose(file), 0);
}

/* The output of a shell command in `folder`, and whether it ended well. */
static int run(const char *folder, const char *command, char *ret_output, size_t size)
{
    char line[512];
    (void)snprintf(line, sizeof(line), "cd %s && %s 2>&1", folder, command);
    FILE *output = popen(line, "re"); /* NOLINT(cert-env33-c): fixed commands */
    assert_non_null(output);
    size_t length = fread(ret_output, 1, size - 1, output);
    ret_output[length] = '\0';
    return pclose(output);
}

static void assert_says(const char *output, const char *expected)
{
    if (strstr(output, expected) == NULL)
        print_message("%s\n", output);
    assert_non_null(strstr(output, expected));
}

static void acpica_disassembles_every_table_without_complaint(const char *folder)
{
    static char output[1 << 16];
    static const char *const names[] = {"FACP", "APIC", "DSDT", "SSDT"};
    for (size_t i = 0; i < 4; i++) {
        char command[64];
        (void)snprintf(command, sizeof(command), "iasl -vs -d %s.dat", names[i]);
        assert_int_equal(run(folder, command, output, sizeof(output)), 0);
        assert_null(strstr(output, "Error"));
        assert_null(strstr(output, "Warning"));
        assert_null(strstr(output, "Invalid"));
    }
}

static void acpica_loads_and_evaluates_the_name_space(const char *folder)
{
    static char output[1 << 16];
    (void)run(folder,
              "acpiexec -b 'evaluate \\_S5;evaluate \\_SB.C03F._UID;evaluate \\_SB.COM1._CRS;"
              "find _S4_;find _S3_;find C040' DSDT.dat SSDT.dat",
              output, sizeof(output));
    assert_null(strstr(output, "Error"));
    assert_says(output, "[Integer] = 0000000000000005\n    [Integer] = 0000000000000005");
    assert_says(output, "  [Integer] = 000000000000003F");
    assert_says(output, "47 01 F8 03 F8 03 01 08 22 10 00 79 00");
    assert_null(strstr(output, "\\_S4_ "));
    assert_null(strstr(output, "\\_S3_ "));
    assert_null(strstr(output, "\\_SB.C040 "));
}

static void acpica_understands_the_tables(void **state)
{
    (void)state;
    if (access("/usr/bin/iasl", X_OK) != 0 || access("/usr/bin/acpiexec", X_OK) != 0)
        skip();
    uint64_t gpa = 0;
    struct mem *mem = build(64, &gpa);
    char folder[] = "/tmp/partita-acpi-XXXXXX";
    assert_non_null(mkdtemp(folder));
    const uint8_t *fadt = find_table(mem, gpa, "FACP");
    save(folder, "FACP.dat", fadt);
    save(folder, "APIC.dat", find_table(mem, gpa, "APIC"));
    save(folder, "SSDT.dat", find_table(mem, gpa, "SSDT"));
    save(folder, "DSDT.dat", table_at(mem, get_le64(fadt + 140), "DSDT"));
    acpica_disassembles_every_table_without_complaint(folder);
    acpica_loads_and_evaluates_the_name_space(folder);
    char output[256];
    assert_int_equal(run(folder, "rm -r \"$PWD\"", output, sizeof(output)), 0);
    mem_destroy(mem);
}

/* What ACPICA says of objects of the last table. */
static const char *evaluate_last(const struct acpi_config *config, const char *objects)
{
    static char output[1 << 16];
    char folder[] = "/tmp/partita-acpi-XXXXXX"; /* a template of mkdtemp(3) */
    char command[256];
    struct mem *mem;
    uint64_t gpa = 0;

    assert_int_equal(mem_create(MIB, MIB, &mem), 0);
    assert_int_equal(acpi_build(mem, config, &gpa, NULL), 0);
    assert_non_null(mkdtemp(folder));
    save(folder, "DSDT.dat", table_at(mem, get_le64(find_table(mem, gpa, "FACP") + 140), "DSDT"));
    save(folder, "LAST.dat", last_table(mem, gpa));
    (void)snprintf(command, sizeof(command), "acpiexec -b '%s' DSDT.dat LAST.dat; rm -r \"$PWD\"",
                   objects);
    (void)run(folder, command, output, sizeof(output));
    assert_null(strstr(output, "Error"));
    mem_destroy(mem);
    return output;
}

static void vmbus_is_a_device_when_it_is_wanted(void **state)
{
    struct acpi_config config = typical;
    (void)state;

    config.vmbus = true;
    const char *output =
        evaluate_last(&config, "evaluate \\_SB.VMOD.VMBS._HID;evaluate \\_SB.VMOD._CRS");
    assert_says(output, "\"VMBUS\""); /* ACPICA makes it upper case */
    assert_says(output, "87 17");     /* a DWORD address space descriptor, ACPI 6.3 § 6.4.3.5.2 */
}

static void pci_is_a_bus_when_it_is_wanted(void **state)
{
    struct acpi_config config = typical;
    (void)state;

    config.pci = true;
    const char *output =
        evaluate_last(&config, "evaluate \\_SB.PCI0._HID;evaluate \\_SB.PCI0._CRS");
    assert_says(output, "00000000030AD041"); /* PNP0A03 */
    assert_says(output, "88 0D");            /* bus numbers, ACPI 6.3 § 6.4.3.5.3 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(root_pointer_can_be_found_and_has_both_sums),
        cmocka_unit_test(rsdt_and_xsdt_name_the_same_tables),
        cmocka_unit_test(fadt_names_the_registers_it_was_given),
        cmocka_unit_test(madt_lists_processors_ioapic_and_overrides),
        cmocka_unit_test(nothing_is_written_outside_the_area),
        cmocka_unit_test(impossible_processor_counts_are_refused),
        cmocka_unit_test(acpica_understands_the_tables),
        cmocka_unit_test(vmbus_is_a_device_when_it_is_wanted),
        cmocka_unit_test(pci_is_a_bus_when_it_is_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
