/*
 * VMBus as guests find it: a device "VMBus" below a module device that owns the address windows
 * which the guest hands out to devices of the bus (ACPI 6.3 § 9.12, and Linux drivers/hv).
 */
DefinitionBlock ("", "SSDT", 2, "PARTIT", "VMBUS   ", 1)
{
    External (\_SB, DeviceObj)

    Scope (\_SB)
    {
        Device (VMOD)
        {
            Name (_HID, "ACPI0004")
            Name (_UID, 0)
            Name (_CRS, ResourceTemplate ()
            {
                /* Below the IOAPIC, above the end of low RAM. */
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                             0, 0xF8000000, 0xFE7FFFFF, 0, 0x06800000)
            })

            Device (VMBS)
            {
                /* What Hyper-V calls it; as a name of five letters it is none of ACPI's. */
                Method (_HID, 0, NotSerialized)
                {
                    Return ("VMBus")
                }
                Name (_DDN, "VMBUS")
                Name (_UID, 0)
                Method (_STA, 0, NotSerialized)
                {
                    Return (0x0F)
                }
                /* Its interrupt is the SynIC's: no line of the IOAPIC. */
                Name (_CRS, ResourceTemplate ()
                {
                })
            }
        }
    }
}
