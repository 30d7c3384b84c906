/*
 * The PCI bus as guests find it: a root bridge (PNP0A03) without interrupts and ports of its own,
 * and the window in which its one device's memory lies.
 */
DefinitionBlock ("", "SSDT", 2, "PARTTA", "PCI     ", 1)
{
    External (\_SB, DeviceObj)

    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Name (_BBN, 0)
            Name (_CRS, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
                               0, 0, 0, 0, 1)
                IO (Decode16, 0xCF8, 0xCF8, 1, 8)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                             0, 0xF8000000, 0xFBFFFFFF, 0, 0x04000000)
            })
        }
    }
}
