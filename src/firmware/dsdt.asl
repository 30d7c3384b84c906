/*
 * What a guest cannot find out by itself: how to switch off, and the devices of the ISA bus, which
 * are where they always were. Processors are in a table of their own, because their number varies.
 */
DefinitionBlock ("", "DSDT", 2, "PARTTA", "PARTITA", 1)
{
    /* SLP_TYP for soft off, in both PM1 control registers. Without _S3 and _S4 a guest cannot sleep. */
    Name (\_S5, Package () { 5, 5, 0, 0 })

    Scope (\_SB)
    {
        Device (COM1)
        {
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, 1)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x3F8, 0x3F8, 1, 8)
                IRQNoFlags () { 4 }
            })
        }

        Device (RTC)
        {
            Name (_HID, EisaId ("PNP0B00"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x70, 0x70, 1, 2)
                IRQNoFlags () { 8 }
            })
        }

        Device (PIT)
        {
            Name (_HID, EisaId ("PNP0100"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x40, 0x40, 1, 4)
                IRQNoFlags () { 0 }
            })
        }

        Device (PIC)
        {
            Name (_HID, EisaId ("PNP0000"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x20, 0x20, 1, 2)
                IO (Decode16, 0xA0, 0xA0, 1, 2)
                IRQNoFlags () { 2 }
            })
        }
    }
}
