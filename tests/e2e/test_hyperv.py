"""Debian's own Hyper-V drivers: a guest from a disk, its disks, its clock, and what it survives."""
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pexpect
import pytest

# A boot takes half a minute; the limit is for a machine that does ten other things.
BOOT_SECONDS = 400
PROMPT = "root@partita:~# "
MIB = 1 << 20
# The kernel need not test its ciphers: seconds of each boot.
QUICK = "cryptomgr.notests"


def sparse(path, size):
    with open(path, "wb") as file:
        file.truncate(size)
    return path


class Debian:
    """A guest at its shell."""

    def __init__(self, partita, *words, cpus=1):
        self.child = pexpect.spawn(partita, ["run", "-m", "1G", "-c", str(cpus), "-a", QUICK, *map(str, words)],
                                   timeout=BOOT_SECONDS, dimensions=(40, 200), encoding="latin-1")
        self.child.expect("automatic login")
        self.child.expect_exact(PROMPT)
        # No colours, no paste brackets, and the kernel's messages stay in dmesg.
        self.run("bind 'set enable-bracketed-paste off'; dmesg -n 1; export TERM=dumb")

    def run(self, command, timeout=240):
        """What a command says."""
        self.child.sendline(command)
        self.child.expect_exact(PROMPT, timeout=timeout)
        text = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", self.child.before).replace("\r", "")
        return text.partition("\n")[2].strip()

    def disk(self, lun):
        """The device at this place: the kernel looks at all at once, and names them as they answer."""
        return "/dev/" + self.run(f"ls /sys/bus/scsi/devices/*:0:0:{lun}/block")

    def power_off(self):
        self.child.sendline("systemctl poweroff")
        self.child.expect(pexpect.EOF, timeout=BOOT_SECONDS)
        self.child.close()
        return self.child.exitstatus


@pytest.fixture(scope="module")
def disks(debian_image, tmp_path_factory):
    folder = tmp_path_factory.mktemp("disks")
    shutil.copy(debian_image, folder / "root.vhdx")
    sparse(folder / "data.raw", 256 * MIB)
    return folder


@pytest.fixture(scope="module")
def debian(partita, disks):
    guest = Debian(partita, "--disk", disks / "root.vhdx", "--disk", disks / "data.raw", cpus=4)
    yield guest
    assert guest.power_off() == 0


def test_the_guest_sees_hyperv(debian):
    assert debian.run("systemd-detect-virt") == "microsoft"
    assert debian.run("nproc") == "4"
    clock = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
    assert debian.run(f"cat {clock}") == "hyperv_clocksource_tsc_page"
    assert "Vmbus version:5.3" in debian.run("dmesg | grep Vmbus")
    assert debian.run("findmnt -no SOURCE /") == debian.disk(0) + "1"


def test_its_drivers_do_not_complain(debian):
    assert debian.run("dmesg | grep -iE 'hv_|hyper-v|vmbus|storvsc|sd [0-9]' | "
                      "grep -iE 'warn|error|fail|bug|timed out|unexpected'") == ""
    assert debian.run("dmesg | grep -E 'WARNING|BUG:|unchecked MSR|Call Trace'") == ""


def test_every_channel_is_used(debian):
    """The controller of four processors has sub-channels, and each carries interrupts."""
    used = debian.run("cat /sys/bus/vmbus/devices/9a1e4f52-*/channels/*/interrupts").split()
    assert len(used) == 4


def test_what_is_written_is_read_back(debian):
    said = debian.run(f"fio --name=v --filename={debian.disk(1)} --rw=randwrite --bs=4k --size=32M "
                      "--ioengine=psync --numjobs=2 --offset_increment=64M --direct=1 --verify=crc32c "
                      "--do_verify=1 --minimal --group_reporting >/tmp/fio; echo status $?")
    assert "status 0" in said


def test_discard_gives_room_back(debian, disks):
    path = disks / "data.raw"
    device = debian.disk(1)
    debian.run(f"dd if=/dev/urandom of={device} bs=1M seek=160 count=32 oflag=direct status=none; sync")
    before = os.stat(path).st_blocks
    debian.run(f"blkdiscard -o $((160<<20)) -l $((32<<20)) {device}")
    assert before - os.stat(path).st_blocks > 30 * MIB // 512


def test_a_stopped_process_leaves_a_sane_clock(debian):
    os.kill(debian.child.pid, signal.SIGSTOP)
    time.sleep(10)
    os.kill(debian.child.pid, signal.SIGCONT)
    said = int(debian.run("date +%s"))
    assert abs(said - time.time()) < 5
    assert debian.run("dmesg | grep -iE 'clocksource.*unstable|rcu.*stall'") == ""


def numbers_on(path):
    """Which of the blocks that the guest numbered are there."""
    found = set()
    with open(path, "rb") as file:
        file.seek(200 * MIB)
        for block in iter(lambda: file.read(4096), b""):
            digits = block[:8].strip(b"\0 \n")
            if digits.isdigit():
                found.add(int(digits))
    return found


def test_flushed_data_survives_a_kill(partita, debian_image, disks):
    """Killed in the midst of writes: what was acknowledged is there, and the file system recovers."""
    root, data = disks / "killed.vhdx", disks / "numbers.raw"
    shutil.copy(debian_image, root)
    sparse(data, 256 * MIB)
    words = ("--disk", root, "--disk", data)
    guest = Debian(partita, *words)
    device = guest.disk(1)
    guest.child.sendline("i=0; while :; do i=$((i+1)); printf '%08d' $i >/tmp/n; truncate -s 4096 /tmp/n; "
                         f"dd if=/tmp/n of={device} bs=4096 seek=$((51200+i)) oflag=direct conv=fsync "
                         "status=none; echo x$i >>/root/log; echo done $i; done")
    guest.child.expect("done 40\r", timeout=240)
    os.kill(guest.child.pid, signal.SIGKILL)
    rest = guest.child.read()
    guest.child.close()
    acknowledged = max([40, *map(int, re.findall(r"done (\d+)\r", rest))])
    assert numbers_on(data) >= set(range(1, acknowledged + 1))
    again = Debian(partita, *words)
    assert "recover" in again.run("dmesg | grep -i ext4")
    assert again.run("touch /root/writable && echo yes") == "yes"
    assert again.power_off() == 0


# ---- in an initramfs: seconds instead of half a minute ----

def quick(partita, kernel, initramfs, *words, append="", cpus=1):
    return pexpect.spawn(partita, ["run", "-k", str(kernel), "-i", str(initramfs), "-m", "512M", "-c",
                                   str(cpus), "-a", f"console=ttyS0 demo=shell {append}",
                                   *map(str, words)], timeout=BOOT_SECONDS, encoding="latin-1",
                         dimensions=(40, 200))


def shell(child, command):
    child.sendline(f"{command}; echo; echo en''d")
    child.expect("\nend\r")
    return child.before.replace("\r", "").partition("\n")[2].strip()


def test_64_disks_on_a_controller(partita, kernel, initramfs, tmp_path):
    words = []
    for i in range(64):
        words += ["--disk", sparse(tmp_path / f"{i}.raw", MIB)]
    guest = quick(partita, kernel, initramfs, *words)
    guest.expect("guest:/root# ")
    assert shell(guest, "sleep 1; grep -c ' sd' /proc/partitions") == "64"
    guest.terminate(force=True)


@pytest.mark.parametrize("way, suffix", [("io_uring", "vhd"), ("threads", "vhdx"), ("sync", "raw")])
def test_each_way_to_the_files_keeps_what_is_written(partita, kernel, initramfs, tmp_path, monkeypatch, way, suffix):
    monkeypatch.setenv("PARTITA_DISK_IO", way)
    path, raw = tmp_path / f"disk.{suffix}", tmp_path / "copy.raw"
    subprocess.run([partita, "disk", "create", "-q", path, "12M"], check=True)
    guest = quick(partita, kernel, initramfs, "--disk", path)
    guest.expect("guest:/root# ")
    # Not in order, so that blocks come and go; then all of it past the guest's cache.
    shell(guest, "for i in 7 2 9 0 11 4; do dd if=/dev/urandom of=/dev/sda bs=64k seek=$((i * 16)) count=15 conv=fsync; "
          "done 2>/dev/null; echo 3 >/proc/sys/vm/drop_caches")
    told = re.search("[0-9a-f]{64}", shell(guest, "sha256sum /dev/sda"))[0]
    guest.sendline("poweroff -f")
    guest.expect(pexpect.EOF)
    subprocess.run([partita, "disk", "check", path], check=True)
    subprocess.run([partita, "disk", "convert", "-q", "--force", path, raw], check=True)
    assert hashlib.sha256(raw.read_bytes()).hexdigest() == told
    assert raw.read_bytes()[7 * MIB:8 * MIB].count(0) < MIB // 8


def test_a_dvd_is_read(partita, kernel, initramfs, tmp_path):
    disc = tmp_path / "disc.iso"
    disc.write_bytes(os.urandom(300 * 2048))
    guest = quick(partita, kernel, initramfs, "--dvd", disc)
    guest.expect("guest:/root# ")
    wanted = hashlib.sha256(disc.read_bytes()).hexdigest()
    assert wanted in shell(guest, "dd if=/dev/sr0 bs=2048 count=300 2>/dev/null | sha256sum")
    guest.terminate(force=True)


def test_a_disk_may_be_read_only(partita, kernel, initramfs, tmp_path):
    disk = sparse(tmp_path / "disk.raw", MIB)
    guest = quick(partita, kernel, initramfs, "--disk", f"{disk},ro,at=1:5,serial=PAR-42")
    guest.expect("guest:/root# ")
    assert shell(guest, "cat /sys/block/sda/ro") == "1"
    assert shell(guest, "ls -d /sys/block/sda/device/scsi_device/*").endswith(":0:0:5")
    assert "PAR-42" in shell(guest, "cat /sys/block/sda/device/vpd_pg80 | tr -d '\\000'")
    guest.terminate(force=True)


def test_the_text_of_a_panic_reaches_the_host(partita, kernel, initramfs):
    guest = quick(partita, kernel, initramfs, "--no-reboot", append="panic=-1", cpus=2)
    guest.expect("guest:/root# ")
    guest.sendline("echo c >/proc/sysrq-trigger")
    guest.expect("partita: the guest reports a crash on vCPU")
    guest.expect("sysrq triggered crash")
    guest.expect(pexpect.EOF)
    guest.close()
    assert guest.exitstatus == 13


def test_status_tells_of_bus_and_disks(partita, kernel, initramfs, tmp_path, monkeypatch):
    monkeypatch.setenv("PARTITA_RUNTIME_DIR", str(tmp_path / "sockets"))
    disk = sparse(tmp_path / "disk.raw", MIB)
    guest = quick(partita, kernel, initramfs, "--disk", f"{disk},at=0:3", "--name", "probe", "--net", "none")
    guest.expect("guest:/root# ")
    shell(guest, "dd if=/dev/zero of=/dev/sda bs=64k count=4 oflag=direct 2>/dev/null")
    facts = json.loads(subprocess.run([partita, "status", "probe", "--json"], capture_output=True,
                                      check=True).stdout)
    assert facts["vmbus"] == "5.3" and facts["channels"] == 1
    (told,) = facts["disks"]
    assert told["path"] == str(disk) and (told["controller"], told["lun"]) == (0, 3)
    assert told["capacity"] == MIB and told["written_bytes"] == 4 << 16 and told["read_bytes"] > 0
    guest.terminate(force=True)


def test_without_hyperv_there_is_none(partita, kernel, initramfs):
    done = subprocess.run([partita, "run", "-k", kernel, "-i", initramfs, "-m", "512M", "--no-hyperv", "-a",
                           "console=ttyS0 demo=report"], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=BOOT_SECONDS, check=False)
    assert done.returncode == 0
    assert b"Hypervisor detected: Microsoft" not in done.stdout
