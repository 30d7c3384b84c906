/* Any disk of either sector size: partitions lie within it, are not empty and in ascending order.
 */
#include "disk/partition.h"

#include <stdlib.h>

#include "disk/memory_file.h"
#include "disk/partition_fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check(const struct partition_table *table, uint64_t capacity)
{
    if (table->count > PARTITION_MOST || (table->scheme == PARTITION_NONE && table->count > 0))
        abort();
    if (table->scheme == PARTITION_GPT && !table->primary_valid && !table->backup_valid)
        abort();
    for (unsigned i = 0; i < table->count; i++) {
        const struct partition *partition = &table->partitions[i];
        char text[PARTITION_GUID_TEXT];
        if (partition->length == 0 || partition->offset > capacity - partition->length)
            abort();
        if (i > 0 && partition->number <= table->partitions[i - 1].number)
            abort();
        partition_uuid_text(table, partition, text);
    }
}

/* The first byte chooses the sector size and whether checksums are made right. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct partition_table table;
    struct memory_file memory;
    struct disk *disk = NULL;
    enum { MOST = 1 << 17 };

    if (size < 2 || size > MOST)
        return 0;
    uint32_t sector = bytes[0] & 1 ? 4096 : 512;
    memory_file_init(&memory, size - 1, MOST);
    memcpy(memory.bytes, bytes + 1, size - 1);
    if (bytes[0] & 2)
        partition_fixture_seal(memory.bytes, MOST, sector);
    if (disk_open_file(&memory.file, 0, &disk, NULL) < 0)
        abort();
    partition_fixture_sectors(disk, sector);
    if (disk_geometry(disk)->capacity >= sector && partition_read(disk, &table, NULL) == 0)
        check(&table, disk_geometry(disk)->capacity);
    (void)disk_close(disk);
    free(memory.bytes);
    return 0;
}
