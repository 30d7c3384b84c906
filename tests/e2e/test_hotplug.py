"""Disks that come and go, and discs that are changed, while a guest runs."""
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import time

import pexpect
import pytest

from test_hyperv import MIB, Debian, quick, shell, sparse

FAILED, USAGE, FILE = 1, 2, 3
NAME = "hot"
GUEST_SECONDS = 120  # how long a guest may take to see what has happened


@pytest.fixture(scope="module", autouse=True)
def sockets(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARTITA_RUNTIME_DIR", str(tmp_path_factory.mktemp("sockets")))
        yield


class Hot:
    """A guest at its shell, and the orders to its partition."""

    def __init__(self, partita, child):
        self.partita = partita
        self.child = child
        child.timeout = GUEST_SECONDS
        self.shell("dmesg -n 1")

    def shell(self, command):
        """What a command says, and nothing else."""
        self.child.sendline(f"echo be''gin; {{ {command}\n}}; echo; echo en''d")
        self.child.expect(r"\nbegin\r\n(.*?)\n\r?end\r")
        return self.child.match[1].replace("\r", "").strip()

    def order(self, verb, *words):
        return subprocess.run([self.partita, verb, NAME, *map(str, words)], capture_output=True,
                              text=True, timeout=60, check=False)

    def do(self, verb, *words):
        done = self.order(verb, *words)
        assert (done.returncode, done.stderr) == (0, ""), (verb, words)
        return done.stdout

    def attach(self, *words):
        """Plug in, and return place and the device that the guest made of it."""
        place = re.fullmatch(rf"{NAME}: attached at (\d+:\d+)\n", self.do("attach", *words))[1]
        return place, self.wait_for(place)

    def places(self):
        facts = json.loads(self.do("status", "--json"))
        return {f"{disk['controller']}:{disk['lun']}": disk["path"] for disk in facts["disks"]}

    def devices(self, lun):
        return self.shell(f"ls -d /sys/bus/scsi/devices/*:0:0:{lun}/block/* 2>/dev/null | "
                          "sed 's,.*/,,'").split()

    def wait_for(self, place, gone=False):
        """Until the guest has the device, or has it no more; luns of these tests are used once."""
        deadline = time.monotonic() + GUEST_SECONDS
        while time.monotonic() < deadline:
            names = self.devices(place.partition(":")[2])
            if gone and not names:
                return None
            if names and not gone:
                return names[0]
            time.sleep(0.2)
        pytest.fail(f"{place}: the guest {'still has' if gone else 'does not see'} it")


def locked(path):
    """Whether somebody has the file open as a disk."""
    with open(path, "r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.fixture(scope="module")
def hot(partita, kernel, initramfs, tmp_path_factory):
    base = sparse(tmp_path_factory.mktemp("base") / "base.raw", 8 * MIB)
    child = quick(partita, kernel, initramfs, "--disk", f"{base},at=0:0", "--name", NAME, cpus=2)
    child.expect("guest:/root# ")
    yield Hot(partita, child)
    child.sendline("exit")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


@pytest.mark.parametrize("at", ["0:1", "3:40"])
def test_an_attached_disk_is_used_and_left_complete(hot, tmp_path, at):
    disk = tmp_path / "disk.raw"
    disk.write_bytes(os.urandom(4 * MIB))
    wanted = hashlib.sha256(disk.read_bytes()).hexdigest()
    place, device = hot.attach(disk, "--at", at)
    assert place == at and hot.places()[at] == str(disk) and locked(disk)
    assert wanted in hot.shell(f"sha256sum /dev/{device}")
    said = hot.shell(f"dd if=/dev/urandom of=/tmp/new bs=64k count=32 2>/dev/null; "
                     f"dd if=/tmp/new of=/dev/{device} bs=64k seek=32 2>/dev/null; sync; sha256sum /tmp/new")
    hot.do("detach", at)
    assert at not in hot.places() and not locked(disk)
    with open(disk, "rb") as file:
        file.seek(2 * MIB)
        assert hashlib.sha256(file.read()).hexdigest() in said
    hot.wait_for(at, gone=True)
    assert hot.shell(f"ls /dev/{device}").endswith("No such file or directory")


def test_a_disk_finds_its_place_and_may_be_read_only(hot, tmp_path):
    os.chdir(tmp_path)
    sparse(tmp_path / "disk.raw", MIB)
    place, device = hot.attach("disk.raw", "-r")
    assert hot.places()[place] == str(tmp_path / "disk.raw")
    assert hot.shell(f"cat /sys/block/{device}/ro") == "1"
    hot.do("detach", place)
    hot.wait_for(place, gone=True)


def test_mistakes_are_told_and_change_nothing(hot, tmp_path):
    free, used = sparse(tmp_path / "free.raw", MIB), sparse(tmp_path / "used.raw", MIB)
    before = hot.places()
    with open(used, "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        for words, code, text in [
                (["attach", free, "--at", "0:0"], FAILED, "place 0:0 is taken"),
                (["attach", free, "--at", "4:0"], FAILED, "no place 4:0; it is 0:0 to 3:63"),
                (["attach", free, "--at", "0:64"], FAILED, "no place 0:64"),
                (["attach", used], FAILED, f"{used}: in use"),
                (["attach", before["0:0"]], FAILED, "in use"),
                (["attach", tmp_path], FAILED, f"{tmp_path}: "),
                (["attach", tmp_path / "none"], FILE, "No such file"),
                (["detach", "0:9"], FAILED, "no disk at 0:9"),
                (["detach", "9:9"], FAILED, "no disk at 9:9"),
                (["insert", "0:0", free], FAILED, "no DVD drive at 0:0, but a disk"),
                (["insert", "0:9", free], FAILED, "no DVD drive at 0:9"),
                (["eject", "0:0"], FAILED, "no DVD drive at 0:0, but a disk")]:
            done = hot.order(*words)
            assert (done.returncode, done.stdout) == (code, ""), words
            assert re.fullmatch(rf"partita: {words[0]}: .*\n", done.stderr) and text in done.stderr
    assert hot.places() == before and not locked(free)


def test_many_come_and_go_beside_a_busy_disk(hot, tmp_path):
    disk = sparse(tmp_path / "disk.raw", 4 * MIB)
    hot.shell("dmesg -c >/dev/null; dd if=/dev/urandom of=/tmp/load bs=64k count=16 2>/dev/null; "
              "(while [ ! -f /tmp/stop ]; do dd if=/tmp/load of=/dev/sda bs=64k oflag=direct 2>/dev/null && "
              "dd if=/dev/sda bs=64k count=16 iflag=direct 2>/dev/null | cmp - /tmp/load || touch /tmp/bad; "
              "echo >>/tmp/rounds; done) >/dev/null 2>&1 &")
    for turn in range(30):
        if turn % 3 == 0:  # seen and used by the guest, else pulled out from under its search
            place, device = hot.attach(disk)
            # The kernel names a disk before its node is there.
            assert hot.shell(f"for i in $(seq 50); do dd if=/dev/{device} of=/dev/null bs=1M 2>/dev/null && "
                             "echo read && break; sleep .2; done") == "read"
        else:
            place = hot.do("attach", disk).split()[-1]
        hot.do("detach", place)
        assert not locked(disk)
    hot.wait_for(place, gone=True)
    rounds = hot.shell("touch /tmp/stop; sleep 2; wc -l </tmp/rounds; ls /tmp/bad")
    assert int(rounds.split()[0]) > 3 and "No such file" in rounds
    assert hot.shell("dmesg | grep -E 'WARNING|BUG:|Call Trace|sda.*error'") == ""


def make_iso(folder, text):
    content = folder / f"content-{text}"
    content.mkdir()
    (content / "said.txt").write_text(text)
    (content / "large.bin").write_bytes(os.urandom(2 * MIB))
    iso = folder / f"{text}.iso"
    subprocess.run(["genisoimage", "-quiet", "-r", "-V", text.upper(), "-o", iso, content], check=True)
    return iso, hashlib.sha256((content / "large.bin").read_bytes()).hexdigest()


def test_discs_are_mounted_and_changed(hot, tmp_path):
    first, first_sum = make_iso(tmp_path, "first")
    second, second_sum = make_iso(tmp_path, "second")
    place, device = hot.attach("--dvd", "--at", "1:4")
    assert hot.places()[place] is None
    assert "No medium found" in hot.shell(f"dd if=/dev/{device} of=/dev/null count=1")
    for iso, text, wanted in [(first, "first", first_sum), (second, "second", second_sum)]:
        hot.do("insert", place, iso)
        assert hot.places()[place] == str(iso) and locked(iso)
        assert hot.shell(f"mkdir -p /mnt; mount -t iso9660 -o ro /dev/{device} /mnt && cat /mnt/said.txt") == text
        assert wanted in hot.shell("sha256sum /mnt/large.bin")
        hot.shell("umount /mnt")
    hot.do("insert", place, first)  # over the one that is in
    assert not locked(second) and locked(first)
    assert hot.shell(f"mount -t iso9660 -o ro /dev/{device} /mnt && cat /mnt/said.txt; umount /mnt") == "first"
    hot.do("eject", place)
    assert not locked(first)
    assert "No medium found" in hot.shell(f"dd if=/dev/{device} of=/dev/null count=1")
    done = hot.order("eject", place)
    assert done.returncode == FAILED and "no disc is in the drive" in done.stderr
    hot.do("detach", place)
    hot.wait_for(place, gone=True)


def test_a_mounted_disc_is_torn_away(hot, tmp_path):
    iso, wanted = make_iso(tmp_path, "torn")
    place, device = hot.attach(iso, "--dvd", "--at", "2:2")
    hot.shell(f"mkdir -p /mnt; mount -t iso9660 -o ro /dev/{device} /mnt")
    hot.do("eject", place)
    assert not locked(iso)
    assert wanted not in hot.shell("echo 3 >/proc/sys/vm/drop_caches; sha256sum /mnt/large.bin")
    hot.shell("umount /mnt")
    hot.do("insert", place, iso)
    assert wanted in hot.shell(f"mount -t iso9660 -o ro /dev/{device} /mnt; sha256sum /mnt/large.bin")
    hot.shell("umount /mnt")
    hot.do("detach", place)
    hot.wait_for(place, gone=True)


def test_a_disk_behind_a_drive_is_found(hot, tmp_path):
    """The drive claims no version of SCSI, and Linux counts units by the claims of the first one."""
    place = hot.do("attach", "--dvd", "--at", "2:0").split()[-1]
    far = hot.attach(sparse(tmp_path / "far.raw", MIB), "--at", "2:63")[0]
    for at in place, far:
        hot.do("detach", at)
    hot.wait_for(far, gone=True)


def test_a_reset_keeps_what_was_attached(partita, kernel, initramfs, tmp_path):
    disk = sparse(tmp_path / "disk.raw", MIB)
    child = quick(partita, kernel, initramfs, "--name", NAME + "-reset")
    child.expect("guest:/root# ")
    subprocess.run([partita, "attach", NAME + "-reset", disk, "--at", "0:6"], check=True)
    child.sendline("reboot -f")
    child.expect("guest:/root# ")
    assert shell(child, "sleep 1; ls -d /sys/bus/scsi/devices/*:0:0:6/block/*").endswith("/sda")
    subprocess.run([partita, "detach", NAME + "-reset", "0:6"], check=True)
    assert not locked(disk)
    child.terminate(force=True)


# ---- Debian: udev, ext4 and what else a distribution has ----

@pytest.fixture(scope="module")
def debian(partita, debian_image, tmp_path_factory):
    folder = tmp_path_factory.mktemp("debian")
    shutil.copy(debian_image, folder / "root.vhdx")
    iso, _ = make_iso(folder, "inside")
    guest = Debian(partita, "--disk", folder / "root.vhdx", "--dvd", f"{iso},at=0:9", "--name",
                   NAME + "-debian", cpus=2)
    yield guest
    assert guest.power_off() == 0


def order(partita, *words):
    verb, *rest = map(str, words)
    done = subprocess.run([partita, verb, NAME + "-debian", *rest], capture_output=True, text=True,
                          timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), words
    return done.stdout


def test_the_drive_is_asked_for_nothing_of_an_ata_device(debian):
    assert debian.run("cat /sys/block/sr0/device/scsi_level") == "0"
    assert debian.run("udevadm info -q property /dev/sr0 | grep -c -e ^ID_ATA -e ^ID_CDROM=1") == "1"
    assert debian.run("dmesg | grep -E ' sr0?[ :].*(error|sense|CDB)'") == ""


def test_a_mounted_disk_is_torn_away(partita, debian, tmp_path):
    """As Hyper-V does it: the guest is not asked, its file system has errors, and all else goes on."""
    disk = sparse(tmp_path / "data.raw", 64 * MIB)
    order(partita, "attach", disk, "--at", "0:5")
    wait = "until dev=$(ls /sys/bus/scsi/devices/*:0:0:5/block 2>/dev/null) && [ -b /dev/$dev ]; do sleep .2; done"
    debian.run(f"{wait}; mkfs.ext4 -q /dev/$dev && mount /dev/$dev /mnt && echo kept >/mnt/said && sync")
    debian.run("(while dd if=/dev/zero of=/mnt/x bs=64k count=64 conv=fsync 2>/tmp/why; do :; done; echo >/tmp/over) "
               "& sleep 2")
    order(partita, "detach", "0:5")
    assert not locked(disk)
    why = debian.run("while [ ! -f /tmp/over ]; do sleep .2; done; cat /tmp/why | head -1")
    assert any(text in why for text in ("Input/output error", "Read-only file system",
                                        "No such file or directory", "No such device"))
    debian.run("umount /mnt")
    assert debian.run("ls /sys/bus/scsi/devices/*:0:0:5/block; ls /dev/$dev").count("No such file") == 2
    order(partita, "attach", disk, "--at", "0:5")
    assert debian.run(f"{wait}; mount /dev/$dev /mnt && cat /mnt/said && umount /mnt") == "kept"
    order(partita, "detach", "0:5")
    assert debian.run("dmesg | grep -E 'WARNING|BUG:|Call Trace'") == ""


def test_a_guest_that_ejects_keeps_the_file_in_the_drive(partita, debian):
    """CDROM_LOCKDOOR, CDROMEJECT, and CDROM_DRIVE_STATUS, which says 2 of an open tray.

    udev has locked the door, as it does with all discs; to read closes the tray.
    """
    ioctl = ("perl -e 'sysopen(F, \"/dev/sr0\", 0x800) or die; print ioctl(F, hex $ARGV[0], $ARGV[1] + 0) // $!, "
             "\"\\n\"'")
    def path():
        facts = json.loads(order(partita, "status", "--json"))
        (drive,) = [disk for disk in facts["disks"] if disk["dvd"]]
        return drive["path"]
    assert debian.run("dd if=/dev/sr0 bs=2k count=1 2>/dev/null | wc -c") == "2048"
    iso = path()
    assert debian.run(f"{ioctl} 5326 2147483647") == "4"
    assert debian.run(f"{ioctl} 5309 0") != "0 but true"
    assert debian.run(f"{ioctl} 5326 2147483647") == "4"
    assert debian.run(f"{ioctl} 5329 0; {ioctl} 5309 0") == "0 but true\n0 but true"
    assert debian.run(f"{ioctl} 5326 2147483647") == "2"
    assert path() == iso and locked(iso)
    assert debian.run("for i in $(seq 50); do [ $(dd if=/dev/sr0 bs=2k count=1 2>/dev/null | wc -c) = 2048 ] "
                      "&& echo read && break; sleep .2; done") == "read"
    assert debian.run(f"{ioctl} 5326 2147483647") == "4"
    order(partita, "eject", "0:9")
    assert not locked(iso)
    order(partita, "insert", "0:9", iso)
    assert debian.run("for i in $(seq 50); do [ -e /dev/disk/by-label/INSIDE ] && break; sleep .2; done; "
                      "mount /dev/sr0 /mnt 2>/dev/null; cat /mnt/said.txt; umount /mnt") == "inside"
