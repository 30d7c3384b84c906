"""Debian's unmodified kernels: boots in a row, power off, reboot, a shell, and work that is checked."""
import os
import pathlib
import re
import shutil
import subprocess
import time

import pexpect
import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BOOTS = int(os.environ.get("PARTITA_BOOTS", "10"))
STANDIN = os.environ.get("PARTITA_STANDIN")
SIGNAL = 12
# Each boot takes seconds; the limit is for a machine that does ten other things.
BOOT_SECONDS = 240


def guest_command(partita, kernel, initrd, words, cpus=1, memory="512M"):
    append = f"console=ttyS0 panic=-1 {words}"
    if STANDIN == "qemu":
        return ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-display", "none", "-serial",
                "stdio", "-smp", str(cpus), "-m", memory, "-kernel", str(kernel), "-initrd",
                str(initrd), "-append", append]
    return [partita, "run", "-k", str(kernel), "-i", str(initrd), "-a", append, "-c", str(cpus),
            "-m", memory]


@pytest.fixture(scope="session")
def guest_files(tmp_path_factory):
    """The initramfs whose init runs the workload, and a folder of the same workload for the host."""
    folder = tmp_path_factory.mktemp("workload")
    shutil.copy(HERE / "workload/workload", folder / "workload")
    subprocess.run(["gcc", "-std=gnu17", "-O2", "-static", "-o", folder / "signals",
                    HERE / "workload/signals.c"], check=True)
    base = folder / "base.gz"
    subprocess.run([ROOT / "demo/mkinitramfs", base, HERE / "workload/init"], check=True,
                   stdout=subprocess.PIPE)
    # The kernel unpacks what archives it finds, one after the other; each begins at a multiple of 4.
    archive = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"], cwd=folder,
                             input=b"workload\nsignals\n", capture_output=True, check=True).stdout
    plain, worked = folder / "plain.img", folder / "workload.img"
    shutil.copy(base, plain)
    packed = base.read_bytes()
    worked.write_bytes(packed.ljust((len(packed) + 3) // 4 * 4, b"\0") + archive)
    return {"folder": folder, "plain": plain, "workload": worked}


def boot(command):
    """Run a guest to its end: exit status and the lines of its console."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=BOOT_SECONDS,
                          check=False)
    text = done.stdout.decode(errors="replace").replace("\r", "")
    assert done.returncode == 0, f"{text}\n{done.stderr.decode()}"
    assert done.stderr == b""
    return text


def said(text, word):
    return re.search(rf"^{word} (.*)$", text, re.M)[1]


@pytest.mark.parametrize("number", range(1, BOOTS + 1))
@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_boots_to_userland_and_powers_off(partita, kernel, guest_files, cpus, number):
    start = time.time()
    text = boot(guest_command(partita, kernel, guest_files["plain"], "quiet then=poweroff", cpus))
    assert "the end" in text
    assert said(text, "online") == str(cpus)
    assert said(text, "complaints") == "0"
    assert 400_000 < int(said(text, "memory")) < 512 * 1024
    assert start - 2 <= int(said(text, "date")) <= time.time() + 2


def test_reboots(partita, kernel, guest_files):
    command = guest_command(partita, kernel, guest_files["plain"], "quiet then=reboot", cpus=2)
    guest = pexpect.spawn(command[0], command[1:], timeout=BOOT_SECONDS)
    for _ in range(3):
        guest.expect("online 2")
        guest.expect("complaints 0")
        guest.expect("the end")
    guest.terminate()
    guest.expect(pexpect.EOF)
    guest.wait()
    assert STANDIN or guest.exitstatus == SIGNAL


@pytest.fixture(scope="session")
def host_results(guest_files, tmp_path_factory):
    """What the same programs say on the host."""
    applets = tmp_path_factory.mktemp("applets")
    subprocess.run(["/bin/busybox", "--install", "-s", applets], check=True)
    done = subprocess.run(["/bin/busybox", "sh", guest_files["folder"] / "workload"],
                          capture_output=True, text=True, check=True,
                          env={"PATH": str(applets), "TMPDIR": str(tmp_path_factory.mktemp("tmp"))})
    assert done.stderr == ""
    results = dict(line.split()[1:] for line in done.stdout.splitlines())
    assert len(results) >= 15
    return results


@pytest.mark.parametrize("cpus, level", [(1, "host"), (2, "host"), (4, "host"), (2, "x86-64-v2")])
def test_userland_computes_what_the_host_computes(partita, kernel, guest_files, host_results, cpus,
                                                  level):
    command = guest_command(partita, kernel, guest_files["workload"], "quiet then=poweroff", cpus)
    if not STANDIN:
        command += ["--cpu", level]
    text = boot(command)
    results = dict(re.findall(r"^result (\S+) (\S+)$", text, re.M))
    assert results == host_results
    assert said(text, "complaints") == "0"


def test_standard_kernel_boots(partita, standard_kernel, guest_files):
    text = boot(guest_command(partita, standard_kernel, guest_files["plain"], "quiet then=poweroff", 2))
    assert "the end" in text
    assert said(text, "online") == "2"


def test_memory_above_4_gib(partita, kernel, guest_files):
    text = boot(guest_command(partita, kernel, guest_files["plain"], "quiet then=poweroff", memory="5G"))
    assert 4_700_000 < int(said(text, "memory")) < 5 * 1024 * 1024


def test_shell_on_the_terminal(partita, kernel, guest_files):
    """A person at the keyboard: commands, Ctrl-C to a program of the guest, and exit."""
    command = guest_command(partita, kernel, guest_files["plain"], "quiet then=shell", cpus=2)
    guest = pexpect.spawn(command[0], command[1:], timeout=BOOT_SECONDS, encoding="utf-8",
                          codec_errors="replace")
    guest.expect("ready# ")
    guest.sendline("echo $((6 * 7)) is the answer")
    guest.expect("42 is the answer")
    guest.expect("ready# ")
    guest.sendline("sleep 1000; echo woken $?")
    time.sleep(1)
    guest.send("\x03")
    guest.expect("ready# ")
    guest.sendline("echo still here")
    guest.expect("still here\r")
    guest.expect("ready# ")
    guest.sendline("exit")
    guest.expect(pexpect.EOF)
    guest.wait()
    assert guest.exitstatus == 0


def engine_memory(pid):
    """KiB beside the guest's RAM, which is a memory file of its own: private pages and host code."""
    total, counts = 0, False
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text(encoding="ascii").splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            counts = "partita-translations" in line and words[1].startswith("rw")
        elif words[0] == "Rss:":
            total += int(words[1]) if counts else 0
        elif words[0] == "Anonymous:":
            total += int(words[1])
    return total


def test_engine_gives_memory_back(partita, kernel, guest_files):
    """What a guest at work had made of its code is the host's again when it rests, and it works on."""
    command = guest_command(partita, kernel, guest_files["plain"], "quiet then=shell", cpus=2)
    guest = pexpect.spawn(command[0], command[1:], timeout=BOOT_SECONDS, encoding="utf-8",
                          codec_errors="replace")
    guest.expect("ready# ")
    for _ in range(2):
        guest.sendline("for i in 1 2 3; do find / -xdev | sort | gzip | wc -c; done; echo all done")
        guest.expect("\nall done\r")
        guest.expect("ready# ")
        at_work = engine_memory(guest.pid)
        assert at_work > 4096
        deadline = time.monotonic() + BOOT_SECONDS
        while engine_memory(guest.pid) > 40 << 10:
            assert time.monotonic() < deadline, at_work
            time.sleep(1)
    guest.sendline("exit")
    guest.expect(pexpect.EOF)
    guest.wait()
    assert guest.exitstatus == 0


def test_kernel_panic_is_a_reset(partita, kernel, guest_files):
    """panic=-1 resets at once: without an initramfs there is no root file system."""
    if STANDIN:
        pytest.skip("about the exit status of partita")
    done = subprocess.run([partita, "run", "--no-reboot", "-k", kernel, "-a", "console=ttyS0 panic=-1"],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=BOOT_SECONDS, check=False)
    assert b"Kernel panic" in done.stdout
    assert done.returncode == 13
