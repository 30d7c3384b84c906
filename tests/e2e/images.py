"""Tiny multiboot 1 guests in 32-bit machine code, and the instructions to make them of."""
import struct

LOAD = 0x100000
HEADER = 48
UART = 0x3F8
LINE_STATUS = UART + 5


def multiboot(code):
    """An image whose entry is the first byte of `code` (Multiboot 1 § 3.1, address fields)."""
    flags = 1 << 16
    end = LOAD + HEADER + len(code)
    words = [0x1BADB002, flags, -(0x1BADB002 + flags) & 0xFFFFFFFF, LOAD, LOAD, end, end + 0x10000,
             LOAD + HEADER]
    return struct.pack("<8I", *words).ljust(HEADER, b"\0") + code


def out8(port, value):
    return b"\x66\xba" + struct.pack("<H", port) + b"\xb0" + bytes([value]) + b"\xee"


def out16(port, value):
    return b"\x66\xba" + struct.pack("<H", port) + b"\x66\xb8" + struct.pack("<H", value) + b"\x66\xef"


def say(text):
    return b"".join(out8(UART, byte) for byte in text.encode())


def jump_back(body):
    """`body`, then a jump to its first byte."""
    return body + b"\xe9" + struct.pack("<i", -(len(body) + 5))


POWER_OFF = out16(0x604, 1 << 13 | 5 << 10)
RESET = out8(0xCF9, 6)
HANG = b"\xfa" + jump_back(b"\x90")         # cli; nop for ever: takes no input
HALT = b"\xfa" + jump_back(b"\xf4")
# lidt of an empty table; ud2
CRASH = b"\x0f\x01\x1d" + struct.pack("<I", LOAD + 40) + b"\x0f\x0b"

# Reads a byte when there is one, and writes it back; Q switches off.
READ_BYTE = (b"\x66\xba" + struct.pack("<H", LINE_STATUS) + b"\xec\xa8\x01\x74\xfb"  # until DR
             + b"\x66\xba" + struct.pack("<H", UART) + b"\xec")
ECHO = jump_back(READ_BYTE + b"\xee\x3c\x51\x75" + bytes([len(POWER_OFF)]) + POWER_OFF)


def say_forever(text):
    return jump_back(say(text))


def say_in_hex():
    """Echo every byte as a letter: its value plus 64, so that control characters can be seen."""
    step = READ_BYTE + b"\x04\x40\xee"  # add al, 64; out
    return jump_back(step)
