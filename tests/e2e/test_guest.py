"""Bare-metal guests: ends, exit codes, images, serial ports that are no terminal."""
import os
import re
import signal
import subprocess
import time

import pytest

import images

POWER_OFF, FAILED, IMAGE, CRASH, SIGNAL, RESET = 0, 1, 3, 10, 12, 13


def test_power_off_is_success(run, image):
    done = run("run", "-k", image(images.say("hello\n") + images.POWER_OFF))
    assert (done.returncode, done.stdout, done.stderr) == (POWER_OFF, "hello\n", "")


def test_reset_boots_again(partita, image):
    """Three times: memory is cleared between, so the guest cannot count; we do."""
    guest = subprocess.Popen([partita, "run", "-k", image(images.say("boot\n") + images.RESET)],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lines = [guest.stdout.readline() for _ in range(20)]
    guest.terminate()
    rest, errors = guest.communicate(timeout=30)
    assert lines == [b"boot\n"] * 20
    assert guest.returncode == SIGNAL
    assert errors == b"partita: ended by SIGTERM; the guest is switched off\n"


def test_reset_ends_when_no_reboot_is_wanted(run, image):
    done = run("run", "--no-reboot", "-k", image(images.say("once\n") + images.RESET))
    assert (done.returncode, done.stdout) == (RESET, "once\n")
    assert done.stderr == "partita: the guest reset itself\n"


@pytest.mark.parametrize("value, status", [(0, 1), (1, 3), (16, 33), (0x80, 1)])
def test_debug_exit_gives_the_guests_status(run, image, value, status):
    guest = image(images.out8(0xF4, value) + images.HALT)
    assert run("run", "--debug-exit", "-k", guest).returncode == status


def test_debug_exit_is_no_device_by_default(run, image):
    assert run("run", "-k", image(images.out8(0xF4, 1) + images.POWER_OFF)).returncode == POWER_OFF


def test_crash_is_reported(run, image):
    done = run("run", "-k", image(images.say("before\n") + images.CRASH))
    assert (done.returncode, done.stdout) == (CRASH, "before\n")
    assert "the guest crashed: triple fault on vCPU 0" in done.stderr
    assert re.search(r"code: 0f 0b +ud2", done.stderr)
    assert re.search(r"rax [0-9a-f]{16} rcx [0-9a-f]{16}", done.stderr)
    assert re.search(r"cr0 [0-9a-f]{16} cr2 [0-9a-f]{16}", done.stderr)


def test_crash_names_the_place_when_symbols_are_given(run, image, tmp_path):
    symbols = tmp_path / "System.map"
    symbols.write_text(f"{images.LOAD + images.HEADER:016x} T start_of_guest\n")
    done = run("run", "--symbols", symbols, "-k", image(images.say("x") + images.CRASH))
    assert done.returncode == CRASH
    assert re.search(r"vCPU 0 at 0010:[0-9a-f]{16}  start_of_guest\+0x[0-9a-f]+", done.stderr)


def test_symbols_that_are_none_are_refused(run, image, tmp_path):
    symbols = tmp_path / "notes.txt"
    symbols.write_text("dear diary\n")
    done = run("run", "--symbols", symbols, "-k", image(images.POWER_OFF))
    assert done.returncode == IMAGE
    assert done.stderr.startswith(f"partita: {symbols}: no symbols")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"])
def test_signal_switches_off_at_once(partita, image, name):
    number = getattr(signal, name)
    guest = subprocess.Popen([partita, "run", "-k", image(images.say("up\n") + images.HANG), "-c", "2"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
    assert guest.stdout.readline() == b"up\n"
    start = time.monotonic()
    guest.send_signal(number)
    _, errors = guest.communicate(timeout=30)
    assert guest.returncode == SIGNAL
    assert errors.decode() == f"partita: ended by {name}; the guest is switched off\n"
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("cpus", [1, 2, 16, 64])
def test_any_number_of_processors_starts_and_stops(run, image, cpus):
    assert run("run", "-k", image(images.say("x") + images.POWER_OFF), "-c", cpus).returncode == 0


# ---- images ----

def broken_images(kernel):
    whole = kernel.read_bytes()
    yield "noise", bytes(range(256)) * 64
    yield "text", b"#!/bin/sh\necho hello\n"
    for length in (1, 511, 512, 0x210, 4096, len(whole) // 2):
        yield f"bzImage cut at {length}", whole[:length]
    yield "multiboot cut", images.multiboot(images.POWER_OFF)[:20]
    yield "ELF header only", b"\x7fELF\2\1\1" + bytes(57)


def test_broken_images_are_one_clear_line(run, kernel, tmp_path):
    for number, (what, content) in enumerate(broken_images(kernel)):
        path = tmp_path / f"image{number}"
        path.write_bytes(content)
        done = run("run", "-k", path)
        assert done.returncode == IMAGE, f"{what}: {done}"
        assert re.fullmatch(r"partita: .*\n", done.stderr), f"{what}: {done.stderr}"


def test_empty_image(run, tmp_path):
    path = tmp_path / "empty"
    path.touch()
    done = run("run", "-k", path)
    assert (done.returncode, done.stderr) == (IMAGE, f"partita: {path}: the file is empty\n")


@pytest.mark.parametrize("memory", ["1M", "2M", "16M"])
def test_too_little_memory_for_the_kernel_is_one_clear_line(run, kernel, initramfs, memory):
    done = run("run", "-k", kernel, "-i", initramfs, "-m", memory)
    assert done.returncode == IMAGE
    assert re.fullmatch(r"partita: .*\n", done.stderr)


def test_unreadable_files_are_named(run, image, tmp_path):
    guest = image(images.POWER_OFF)
    for words in (["-i", "/nonexistent/initrd"], ["--module", "/nonexistent/initrd,words"],
                  ["--symbols", "/nonexistent/initrd"]):
        done = run("run", "-k", guest, *words)
        assert done.returncode == IMAGE
        assert done.stderr == "partita: /nonexistent/initrd: No such file or directory\n"
    done = run("run", "-k", guest, "--serial", "file:/nonexistent/log")
    assert (done.returncode, done.stdout) == (IMAGE, "")
    assert "/nonexistent/log" in done.stderr


# ---- serial port without a terminal ----

def test_input_from_a_pipe_reaches_the_guest(run, image):
    done = run("run", "-k", image(images.ECHO), input="the quick brown fox" * 50 + "Q")
    assert (done.returncode, done.stdout) == (0, "the quick brown fox" * 50 + "Q")


def test_input_from_a_file_reaches_the_guest(run, image, tmp_path):
    typed = tmp_path / "typed"
    typed.write_text("0123456789" * 100 + "Q")
    with typed.open() as source:
        done = run("run", "-k", image(images.ECHO), stdin=source)
    assert (done.returncode, done.stdout) == (0, "0123456789" * 100 + "Q")


def test_escape_is_a_byte_like_others_without_a_terminal(run, image):
    done = run("run", "-k", image(images.ECHO), input="a\x1dbQ")
    assert (done.returncode, done.stdout) == (0, "a\x1dbQ")


def test_end_of_input_does_not_end_the_guest(partita, image):
    guest = subprocess.Popen([partita, "run", "-k", image(images.say_forever("tick\n"))],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for _ in range(1000):
        assert guest.stdout.readline() == b"tick\n"
    guest.terminate()
    guest.communicate(timeout=30)
    assert guest.returncode == SIGNAL


def test_slow_reader_loses_nothing(partita, image):
    text = "".join(f"line {number:05}\n" for number in range(400))
    guest = subprocess.Popen([partita, "run", "-k", image(images.say(text) + images.POWER_OFF)],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    received = b""
    time.sleep(0.5)
    while chunk := os.read(guest.stdout.fileno(), 100):
        received += chunk
        time.sleep(0.002)
    assert guest.wait(timeout=30) == 0
    assert received.decode() == text


def test_closed_output_ends_with_a_reason(partita, image):
    guest = subprocess.Popen([partita, "run", "-k", image(images.say_forever("tick\n"))],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    guest.stdout.readline()
    guest.stdout.close()
    errors = guest.stderr.read()
    assert guest.wait(timeout=30) == FAILED
    assert errors == b"partita: the serial output cannot be written: Broken pipe\n"


def test_stuck_reader_does_not_keep_a_signal_waiting(partita, image):
    """Nobody reads, the pipe is full, the vCPU waits for room: SIGTERM still ends it soon."""
    guest = subprocess.Popen([partita, "run", "-k", image(images.say_forever("tick\n"))],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(2)
    start = time.monotonic()
    guest.terminate()
    assert guest.wait(timeout=30) == SIGNAL
    assert time.monotonic() - start < 5
    guest.stdout.close()


def test_output_to_a_file(run, image, tmp_path):
    log = tmp_path / "log"
    log.write_text("old content that is longer than the new one")
    done = run("run", "--serial", f"file:{log}", "-k", image(images.say("kept\n") + images.POWER_OFF))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert log.read_text() == "kept\n"


def test_output_nowhere(run, image):
    done = run("run", "--serial", "none", "-k", image(images.say("lost") + images.POWER_OFF))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_pseudo_terminal_prints_its_path_and_works(partita, image):
    guest = subprocess.Popen([partita, "run", "--serial", "pty", "-k", image(images.ECHO)],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    path = re.fullmatch(r"serial port: (/dev/pts/\d+)\n", guest.stdout.readline())[1]
    for part in (b"hello", b"and again"):  # attach, leave, attach anew
        terminal = os.open(path, os.O_RDWR | os.O_NOCTTY)
        os.write(terminal, part)
        received = b""
        while len(received) < len(part):
            received += os.read(terminal, 100)
        assert received == part
        if part == b"and again":
            os.write(terminal, b"Q")
        os.close(terminal)
    assert guest.wait(timeout=30) == 0
