"""partita disk: images made, read and changed, and held against what QEMU makes of them."""
import fcntl
import json
import os
import pathlib
import random
import signal
import struct
import subprocess
import time

import pytest

MIB = 1 << 20
F_OFD_SETLK = 37  # Linux; not in Python's fcntl
FORMATS = ["raw", "vhd", "vhdx"]
QEMU_NAMES = {"vhd": "vpc", "vhdx": "vhdx"}


@pytest.fixture
def disk(run):
    """Call a verb; the exit code must be the wanted one."""
    def call(verb, *words, code=0, **more):
        done = run("disk", verb, *words, **more)
        assert done.returncode == code, done.stdout + done.stderr
        return done
    return call


def qemu_img(*words, code=0):
    done = subprocess.run(["qemu-img", *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def patchwork(path, size, seed=1):
    """A raw disk with data here and there, and a last piece at its end."""
    rng = random.Random(seed)
    with open(path, "wb") as file:
        file.truncate(size)
        for _ in range(40):
            length = rng.choice([512, 4096, 65536, 3 * MIB])
            file.seek(rng.randrange((size - length) // 512) * 512)
            file.write(rng.randbytes(length))
        file.seek(size - 512)
        file.write(rng.randbytes(512))
    return path


def info(disk, path, *more):
    return json.loads(disk("info", path, "--json", *more).stdout)


# ---- against QEMU ----

@pytest.mark.parametrize("size", [64 * MIB, 300 * MIB + 512])
@pytest.mark.parametrize("kind", ["dynamic", "fixed"])
def test_qemu_reads_what_we_write(disk, tmp_path, kind, size):
    raw = patchwork(tmp_path / "a.raw", size)
    disk("convert", raw, tmp_path / "a.vhdx", "--kind", kind)
    disk("check", tmp_path / "a.vhdx")
    assert "Images are identical" in qemu_img("compare", "-f", "raw", "-F", "vhdx", raw, tmp_path / "a.vhdx")
    qemu_img("check", "-f", "vhdx", tmp_path / "a.vhdx")


@pytest.mark.parametrize("options", ["subformat=dynamic", "subformat=fixed",
                                     "subformat=dynamic,block_size=1M",
                                     "subformat=dynamic,block_size=256M,log_size=4M"])
def test_we_read_what_qemu_writes(disk, tmp_path, options):
    raw = patchwork(tmp_path / "a.raw", 300 * MIB, seed=2)
    qemu_img("convert", "-f", "raw", "-O", "vhdx", "-o", options, raw, tmp_path / "q.vhdx")
    disk("check", tmp_path / "q.vhdx")
    assert "the same" in disk("diff", raw, tmp_path / "q.vhdx").stdout
    disk("convert", tmp_path / "q.vhdx", tmp_path / "back.raw")
    assert (tmp_path / "back.raw").read_bytes() == raw.read_bytes()


def test_qemu_writes_into_ours_and_we_into_qemus(disk, tmp_path):
    """Each goes on where the other stopped."""
    ours, theirs = tmp_path / "ours.vhdx", tmp_path / "theirs.vhdx"
    disk("create", ours, "256M", "--block-size", "1M")
    qemu_img("create", "-f", "vhdx", theirs, "256M")
    writes = [(0, MIB), (37 * MIB + 4096, 8192), (255 * MIB, MIB)]
    for number, (offset, length) in enumerate(writes):
        command = f"write -P {number + 65} {offset} {length}"
        for path in (ours, theirs):
            subprocess.run(["qemu-io", "-f", "vhdx", "-c", command, path], check=True, capture_output=True)
    disk("resize", theirs, "512M")
    disk("resize", theirs, "--shrink", "256M")
    disk("compact", ours)
    assert "the same" in disk("diff", ours, theirs).stdout
    for path in (ours, theirs):
        disk("check", path)
        qemu_img("check", "-f", "vhdx", path)
    raw = tmp_path / "a.raw"
    disk("convert", ours, raw)
    content = raw.read_bytes()
    for number, (offset, length) in enumerate(writes):
        assert content[offset:offset + length] == bytes([number + 65]) * length


# Ends its process before the write with the number in the environment, whichever thread makes it.
KILLER = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>
static int left = -1;
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset)
{
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (real == NULL) {
        real = dlsym(RTLD_NEXT, "pwrite64");
        left = atoi(getenv("KILL_AT_WRITE"));
    }
    if (__atomic_sub_fetch(&left, 1, __ATOMIC_SEQ_CST) == 0)
        kill(getpid(), SIGKILL);
    return real(fd, bytes, length, offset);
}
"""


def test_logs_that_qemu_left_are_carried_out(disk, tmp_path):
    """Killed at each of its writes in turn; QEMU's own recovery says what must be read then."""
    path, copy, raw, killer = (tmp_path / name for name in ("q.vhdx", "copy.vhdx", "a.raw", "killer.so"))
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", killer, "-x", "c", "-"], input=KILLER, text=True, check=True)
    logs = killed = 0
    for number in range(1, 13):
        path.unlink(missing_ok=True)
        qemu_img("create", "-q", "-f", "vhdx", path, "256M")
        done = subprocess.run(["qemu-io", "-f", "vhdx", "-i", "threads", "-c", "write -P 1 0 1M", "-c",
                               "write -P 2 100M 1M", path], capture_output=True, check=False,
                              env={**os.environ, "LD_PRELOAD": str(killer), "KILL_AT_WRITE": str(number)})
        killed += done.returncode == -signal.SIGKILL
        copy.write_bytes(path.read_bytes())
        logs += info(disk, path)["dirty"]
        disk("convert", path, raw, "--force")
        subprocess.run(["qemu-img", "check", "-q", "-r", "all", "-f", "vhdx", copy], check=False)
        assert "Images are identical" in qemu_img("compare", "-f", "raw", "-F", "vhdx", raw, copy)
        disk("check", path, "--repair")
        assert not info(disk, path)["dirty"]
        qemu_img("check", "-f", "vhdx", path)
        assert "the same" in disk("diff", raw, path).stdout
    assert killed >= 8 and logs >= 2


def test_foreign_images_are_converted(disk, tmp_path):
    raw = patchwork(tmp_path / "a.raw", 64 * MIB, seed=3)
    for suffix in ("qcow2", "vmdk"):
        qemu_img("convert", "-f", "raw", "-O", suffix, raw, tmp_path / f"a.{suffix}")
        disk("convert", tmp_path / f"a.{suffix}", tmp_path / f"{suffix}.vhdx")
        assert "the same" in disk("diff", raw, tmp_path / f"{suffix}.vhdx").stdout
    done = disk("convert", tmp_path / "a.qcow2", tmp_path / "b.vhdx", code=3, env={"PATH": "/nowhere"})
    assert "qemu-img, which is not installed" in done.stderr
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"a.raw", "a.qcow2", "a.vmdk", "qcow2.vhdx", "vmdk.vhdx"}


@pytest.mark.parametrize("kind", ["fixed", "dynamic"])
def test_vhds_of_qemu_are_ours(disk, tmp_path, kind):
    raw = patchwork(tmp_path / "a.raw", 64 * MIB, seed=4)
    path = tmp_path / "q.vhd"
    qemu_img("convert", "-f", "raw", "-O", "vpc", "-o", f"subformat={kind},force_size=on", raw, path)
    facts = info(disk, path)
    assert facts["size"] == 64 * MIB and facts["kind"] == kind
    disk("check", path)
    assert "the same" in disk("diff", raw, path).stdout
    disk("resize", path, "100M")
    disk("resize", path, "64M", "--shrink")
    assert "Images are identical" in qemu_img("compare", "-f", "raw", "-F", "vpc", raw, path)


@pytest.mark.parametrize("kind", ["fixed", "dynamic"])
def test_our_vhds_are_read_by_others(disk, tmp_path, kind):
    raw, path = patchwork(tmp_path / "a.raw", 64 * MIB + 512, seed=5), tmp_path / "a.vhd"
    disk("convert", raw, path, "--kind", kind)
    assert "Images are identical" in qemu_img("compare", "-f", "raw", "-F", "vpc", raw, path)
    said = subprocess.run(["vhdiinfo", path], capture_output=True, text=True, check=True).stdout
    assert kind.capitalize() in said and str(64 * MIB + 512) in said
    subprocess.run(["qemu-io", "-f", "vpc", "-c", "write -P 7 30M 5M", path], check=True, capture_output=True)
    disk("check", path)
    disk("convert", path, tmp_path / "back.raw")
    content = bytearray(raw.read_bytes())
    content[30 * MIB:35 * MIB] = bytes([7]) * 5 * MIB
    assert (tmp_path / "back.raw").read_bytes() == content


def test_what_azure_takes(disk, tmp_path):
    raw, path = patchwork(tmp_path / "a.raw", 64 * MIB + 512, seed=6), tmp_path / "azure.vhd"
    disk("export-azure", raw, path)
    assert os.path.getsize(path) == 65 * MIB + 512
    said = subprocess.run(["vhdiinfo", path], capture_output=True, text=True, check=True).stdout
    assert "Fixed" in said and str(65 * MIB) in said
    assert "the same" in disk("diff", raw, path).stdout


# ---- verbs ----

@pytest.mark.parametrize("suffix", FORMATS)
def test_create_and_info(disk, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    disk("create", path, "64M")
    facts = info(disk, path)
    assert facts["format"] == suffix and facts["size"] == 64 * MIB
    assert facts["kind"] == ("fixed" if suffix == "raw" else "dynamic")
    assert facts["file_size"] == {"raw": 64 * MIB, "vhd": 2560, "vhdx": 4 * MIB}[suffix]
    assert not facts["in_use"] and facts["partition_table"] == "none" and facts["generation"] == 0
    assert "there is" not in disk("check", path).stderr
    done = disk("create", path, "64M", code=3)
    assert "File exists" in done.stderr


def test_wrong_words_are_told(disk, run, tmp_path):
    assert "did you mean create" in run("disk", "craete").stderr
    assert "how large?" in disk("create", tmp_path / "a.vhdx", code=2).stderr
    assert "is no size" in disk("create", tmp_path / "a.vhdx", "much", code=2).stderr
    assert "no format 'vhdy'" in disk("create", tmp_path / "a.vhdx", "1G", "-f", "vhdy", code=2).stderr
    assert "power of two" in disk("create", tmp_path / "a.vhdx", "1G", "-b", "3M", code=3).stderr
    assert "No such file" in disk("info", tmp_path / "none.vhdx", code=3).stderr
    (tmp_path / "no.vhdx").write_bytes(b"x" * MIB)
    assert "not a VHDX file" in disk("info", tmp_path / "no.vhdx", code=3).stderr
    assert not (tmp_path / "a.vhdx").exists()


def test_help_of_each_verb(run):
    verbs = [line.split()[0] for line in run("disk", "--help").stdout.splitlines() if line.startswith("  ")]
    assert len(verbs) >= 13
    for verb in verbs:
        done = run("disk", verb, "--help")
        assert done.returncode == 0 and done.stdout.startswith("Usage: partita disk " + verb)
        assert "Example" in done.stdout


def test_generation_of_a_guest(disk, tmp_path):
    for table, generation in (("label: gpt\nstart=1MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n", 2),
                              ("label: gpt\nstart=1MiB, type=21686148-6449-6E6F-744E-656564454649\n", 1),
                              ("label: dos\nstart=2048, type=83, bootable\n", 1),
                              ("label: gpt\nstart=1MiB\n", 0)):
        raw = tmp_path / "a.raw"
        raw.unlink(missing_ok=True)
        disk("create", raw, "64M")
        subprocess.run(["sfdisk", "-q", raw], input=table, text=True, check=True)
        assert info(disk, raw)["generation"] == generation


@pytest.mark.parametrize("suffix", ["vhd", "vhdx"])
def test_a_gpt_moves_with_the_end(disk, tmp_path, suffix):
    raw, path = tmp_path / "a.raw", tmp_path / f"a.{suffix}"
    disk("create", raw, "64M")
    subprocess.run(["sfdisk", "-q", raw], input="label: gpt\nstart=1MiB, size=20MiB\n", text=True, check=True)
    disk("convert", raw, path)
    disk("resize", path, "+64M")
    assert info(disk, path)["size"] == 128 * MIB
    assert "smaller than it is" in disk("resize", path, "32M", code=2).stderr
    disk("resize", path, "32M", "--shrink")
    assert "partition reaches beyond" in disk("resize", path, "10M", "--shrink", code=3).stderr
    disk("convert", path, raw, "--force")
    verified = subprocess.run(["sfdisk", "--verify", raw], capture_output=True, text=True, check=True)
    assert "No errors detected" in verified.stdout
    assert os.path.getsize(raw) == 32 * MIB


@pytest.mark.parametrize("suffix", ["vhd", "vhdx"])
def test_a_chain(disk, tmp_path, suffix):
    base, middle, top = (tmp_path / f"{name}.{suffix}" for name in ("base", "middle", "top"))
    disk("convert", patchwork(tmp_path / "a.raw", 64 * MIB), base, "-b", "1M")
    disk("create", middle, "--parent", base)
    disk("create", top, "--parent", middle)
    facts = info(disk, top, "--chain")
    assert [pathlib.Path(image["path"]) for image in facts["chain"]] == [top, middle, base]
    assert facts["parent_found"]
    assert "the same" in disk("diff", tmp_path / "a.raw", top).stdout
    disk("check", top, "--chain")
    stretches = json.loads(disk("map", top, "--json").stdout)
    assert sum(part["length"] for part in stretches) == 64 * MIB
    assert {part["layer"] for part in stretches} == {2}

    moved = tmp_path / "moved" / base.name
    moved.parent.mkdir()
    base.rename(moved)
    assert "No such file" in disk("map", top, code=3).stderr
    disk("set-parent", middle, moved)
    assert "the same" in disk("diff", tmp_path / "a.raw", top).stdout

    disk("merge", top, "--into", moved)
    assert not top.exists() and not middle.exists()
    assert "the same" in disk("diff", tmp_path / "a.raw", moved).stdout


def test_a_changed_parent_is_told(disk, tmp_path):
    base, child = tmp_path / "base.vhdx", tmp_path / "child.vhdx"
    disk("create", base, "64M")
    disk("create", child, "--parent", base)
    disk("compact", base)  # changes no data
    disk("info", child)
    subprocess.run(["qemu-io", "-f", "vhdx", "-c", "write 0 4k", base], check=True, capture_output=True)
    assert "changed since" in disk("map", child, code=3).stderr
    assert "changed since" in disk("info", child).stdout
    assert "not what it was" in disk("set-parent", child, base, code=3).stderr
    disk("set-parent", child, base, "--force")
    disk("info", child)


def test_a_damaged_image_is_named_and_mended(disk, tmp_path):
    path = tmp_path / "a.vhdx"
    disk("create", path, "64M")
    with open(path, "r+b") as file:
        file.seek(64 << 10)
        file.write(b"\0" * 4096)
    done = disk("check", path, code=1)
    assert "damage at 0x10000: header 1" in done.stdout
    found = json.loads(disk("check", path, "--json", code=1).stdout)
    assert found["damages"] == 1 and found["found"][0]["offset"] == 64 << 10
    assert "mended" in disk("check", path, "--repair").stdout
    assert "sound" in disk("check", path).stdout


def test_an_image_in_use_is_told(disk, tmp_path):
    path = tmp_path / "a.vhdx"
    disk("create", path, "64M")
    with open(path, "r+b") as file:
        whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        fcntl.fcntl(file, F_OFD_SETLK, whole)  # as a running guest has it
        assert "in use" in disk("compact", path, code=3).stderr
        assert info(disk, path)["in_use"]
    assert not info(disk, path)["in_use"]
    disk("compact", path)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_convert_leaves_nothing(partita, tmp_path, how):
    source = tmp_path / "a.raw"
    with open(source, "wb") as file:
        for _ in range(600):
            file.write(os.urandom(MIB))
    child = subprocess.Popen([partita, "disk", "convert", source, tmp_path / "a.vhdx"], stderr=subprocess.PIPE,
                             text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*.part")) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    child.send_signal(how)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130 and "interrupted" in said
    assert [path.name for path in tmp_path.iterdir()] == ["a.raw"]


def test_convert_does_not_replace_by_accident(disk, tmp_path):
    disk("create", tmp_path / "a.raw", "1M")
    disk("create", tmp_path / "b.raw", "2M")
    assert "--force" in disk("convert", tmp_path / "a.raw", tmp_path / "b.raw", code=3).stderr
    assert os.path.getsize(tmp_path / "b.raw") == 2 * MIB
    disk("convert", tmp_path / "a.raw", tmp_path / "b.raw", "--force")
    assert os.path.getsize(tmp_path / "b.raw") == MIB


@pytest.mark.parametrize("suffix", ["vhd", "vhdx"])
def test_compact_makes_small(disk, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    raw = patchwork(tmp_path / "a.raw", 64 * MIB)
    disk("convert", raw, path, "-b", "1M")
    before = os.path.getsize(path)
    with open(raw, "r+b") as file:
        file.write(b"\0" * 32 * MIB)
    subprocess.run(["qemu-io", "-f", QEMU_NAMES[suffix], "-c", "write -P 0 0 32M", path], check=True,
                   capture_output=True)
    disk("compact", path)
    assert os.path.getsize(path) < before
    assert "the same" in disk("diff", raw, path).stdout


def test_diff_names_what_differs(disk, tmp_path):
    one, other = tmp_path / "one.raw", tmp_path / "other.raw"
    patchwork(one, 16 * MIB)
    other.write_bytes(one.read_bytes())
    with open(other, "r+b") as file:
        file.seek(5 * MIB)
        file.write(b"different")
    assert json.loads(disk("diff", one, other, "--json", code=1).stdout) == [{"start": 5 * MIB, "length": 4096}]
    assert "4096 bytes differ" in disk("diff", one, other, code=1).stdout


def test_a_raw_disk_stays_raw_whatever_a_guest_writes(disk, tmp_path):
    disk("create", tmp_path / "trap.vhdx", "64M")
    trap = tmp_path / "trap.raw"
    trap.write_bytes((tmp_path / "trap.vhdx").read_bytes())
    facts = info(disk, trap)
    assert facts["format"] == "raw" and facts["size"] == 4 * MIB


# ---- what must not be lost ----

def test_only_files_that_nobody_uses_are_replaced(disk, tmp_path):
    raw, target = patchwork(tmp_path / "a.raw", 16 * MIB), tmp_path / "b.vhdx"
    os.mkfifo(tmp_path / "pipe.raw")
    assert "no regular file" in disk("convert", raw, tmp_path / "pipe.raw", "--force", code=3).stderr
    disk("create", target, "64M")
    target.chmod(0o600)
    (tmp_path / "link.vhdx").symlink_to(target)
    with open(target, "r+b") as file:
        whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        fcntl.fcntl(file, F_OFD_SETLK, whole)  # as a running guest has it
        assert "in use" in disk("convert", raw, target, "--force", code=3).stderr
    disk("convert", raw, tmp_path / "link.vhdx", "--force")
    assert (tmp_path / "link.vhdx").is_symlink() and target.stat().st_mode & 0o777 == 0o600
    assert "the same" in disk("diff", raw, target).stdout


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_refused_resize_changes_nothing(disk, tmp_path, suffix):
    raw, path = tmp_path / "source.raw", tmp_path / f"a.{suffix}"
    disk("create", raw, "64M")
    subprocess.run(["sfdisk", "-q", raw], input="label: gpt\nsize=20MiB\n", text=True, check=True)
    with open(raw, "r+b") as file:
        file.seek(50 * MIB)
        file.write(b"x")
    disk("convert", raw, path)
    assert "data behind the new end" in disk("resize", path, "--shrink", "32M", code=3).stderr
    assert "the same" in disk("diff", raw, path).stdout
    assert info(disk, path)["minimum_size"] == 21 * MIB + 33 * 512
    subprocess.run(["sfdisk", "-q", raw], input="label: dos\nsize=40MiB\n", text=True, check=True)
    disk("convert", raw, path, "--force")
    assert "partition reaches beyond" in disk("resize", path, "--shrink", "30M", code=3).stderr


def test_formats_of_others_are_not_taken_for_raw(disk, run, tmp_path):
    raw, path = patchwork(tmp_path / "a.raw", 16 * MIB), tmp_path / "q.qcow2"
    assert "no qcow2" in disk("convert", raw, tmp_path / "b.qcow2", code=2).stderr
    assert "no vmdk" in disk("create", tmp_path / "b.vmdk", "1G", code=2).stderr
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, path)
    assert "a qcow2 image" in disk("info", path, code=3).stderr
    assert "a qcow2 image" in run("run", "--disk", path).stderr
    path.rename(tmp_path / "q.img")
    disk("convert", tmp_path / "q.img", tmp_path / "c.vhdx", "--source-format", "qcow2")
    assert "the same" in disk("diff", raw, tmp_path / "c.vhdx").stdout
    assert "ends with .vhd" in disk("export-azure", raw, tmp_path / "b.vhdx", code=2).stderr
    disk("create", tmp_path / "4k.vhdx", "64M", "--sector", "4096")
    assert "those of a VHD 512" in disk("convert", tmp_path / "4k.vhdx", tmp_path / "4k.vhd", code=3).stderr


@pytest.mark.parametrize("suffix", ["vhd", "vhdx"])
def test_a_child_without_its_parent_is_shown(disk, tmp_path, suffix):
    base, child = tmp_path / f"base.{suffix}", tmp_path / f"child.{suffix}"
    disk("create", base, "64M")
    disk("create", child, "--parent", base)
    base.rename(tmp_path / "away")
    facts = info(disk, child)
    assert facts["kind"] == "differencing" and not facts["parent_found"] and facts["parent"].endswith(base.name)
    assert "No such file" in disk("convert", child, tmp_path / "a.raw", code=3).stderr


@pytest.mark.parametrize("suffix", ["vhd", "vhdx"])
def test_a_long_chain_without_its_base_is_told_at_once(disk, partita, tmp_path, suffix):
    """Each child has two names for its parent; none of the 2^n ways through them may be tried twice."""
    images = [tmp_path / f"{number}.{suffix}" for number in range(31)]
    disk("create", images[0], "16M")
    for parent, child in zip(images, images[1:]):
        disk("create", child, "--parent", parent, "-q")
    images[0].rename(tmp_path / "away")
    done = subprocess.run([partita, "disk", "map", images[-1]], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 3 and f"30.{suffix}: " in done.stderr
