#!/usr/bin/python3
"""Builds one bare-metal test image: build_image.py --bits 32|64 --output IMAGE SOURCE.c

A 64-bit image is wrapped into a 32-bit ELF file, since multiboot 1 loaders take no other.
"""
import argparse
import pathlib
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
LIBRARY = HERE / "lib"
FLAGS = ("-std=gnu17 -O2 -g -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror "
         "-ffreestanding -nostdinc -fno-stack-protector -fno-asynchronous-unwind-tables "
         "-fno-strict-aliasing -fvisibility=hidden -mgeneral-regs-only -nostdlib -static "
         "-fcf-protection=none -fno-builtin -fno-tree-loop-distribute-patterns -Wl,--build-id=none -Wl,--no-warn-rwx-segments").split()
# Position-independent code finds its data in the alias of ring 3 too (lib/area.h).
BY_BITS = {64: "-m64 -mno-red-zone -fpie -no-pie -mcmodel=small".split(),
           32: "-m32 -fno-pic -no-pie -march=i686".split()}
ONLY_64 = {"apic.c", "pages.c", "smp.c", "timing.c"}


def sources(bits):
    other = "32.S" if bits == 64 else "64.S"
    return [str(path) for path in sorted(LIBRARY.glob("*.[cS]"))
            if not path.name.endswith(other) and not (bits == 32 and path.name in ONLY_64)]


def run(command):
    status = subprocess.run(command, check=False).returncode
    if status:
        raise SystemExit(status)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bits", type=int, choices=(32, 64), default=64)
    parser.add_argument("--cc", default="gcc")
    parser.add_argument("--output", required=True)
    parser.add_argument("source")
    args = parser.parse_args()
    include = subprocess.run([args.cc, "-print-file-name=include"], check=True, text=True,
                             capture_output=True).stdout.strip()
    with tempfile.TemporaryDirectory() as scratch:
        linked = f"{scratch}/image.elf"
        run([args.cc, *FLAGS, *BY_BITS[args.bits], "-isystem", include, "-I", LIBRARY,
                        "-T", LIBRARY / "image.lds", "-o", linked, args.source,
                        *sources(args.bits)])
        run(["objcopy", "-O", "elf32-i386", linked, args.output])


if __name__ == "__main__":
    main()
