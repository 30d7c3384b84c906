"""Keyboard and mouse, with Debian's own drivers: what is typed logs in on the guest's first terminal."""
import shutil
import struct
import time

import pytest

from test_hyperv import BOOT_SECONDS, PROMPT, Debian

NAME = "input"
FAILED, USAGE = 1, 2
GUEST_SECONDS = 60
EVENT = struct.Struct("<qqHHi")  # struct input_event of a 64-bit kernel
EV_KEY, EV_REL, EV_ABS = 1, 2, 3
BTN_RIGHT, REL_WHEEL, ABS_X, ABS_Y = 0x111, 8, 0, 1


@pytest.fixture(scope="module", autouse=True)
def sockets(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARTITA_RUNTIME_DIR", str(tmp_path_factory.mktemp("sockets")))
        yield


@pytest.fixture(scope="module")
def guest(partita, debian_image, tmp_path_factory):
    disk = tmp_path_factory.mktemp("disks") / "root.vhdx"
    shutil.copy(debian_image, disk)
    debian = Debian(partita, "--disk", disk, "--name", NAME, "--input", cpus=2)
    yield debian
    debian.child.terminate(force=True)


def until(guest, command, wanted):
    deadline = time.monotonic() + GUEST_SECONDS
    while (said := guest.run(command)) != wanted:
        assert time.monotonic() < deadline, said
        time.sleep(0.5)


def log_in(guest, order):
    until(guest, "ps -t tty1 -o comm=", "agetty")
    guest.run("sleep 1")
    order("type", NAME, "--enter", "root")
    until(guest, "who | grep -c tty1", "1")


@pytest.fixture(scope="module")
def terminal(guest, order):
    """Somebody has logged in on tty1, by the keyboard alone."""
    log_in(guest, order)
    return guest


def test_drivers_of_the_guest_find_both(guest):
    found = guest.run("cat /proc/bus/input/devices")
    assert "AT Translated Set 2 keyboard" in found and "Mouse" in found
    assert guest.run("dmesg | grep -iE 'hyperv.keyboard.*(fail|error|illegal)|hid.*hyperv.*(fail|error)'") == ""


def test_every_character_arrives(terminal, order):
    text = "".join(chr(c) for c in range(0x21, 0x7f) if chr(c) not in "'!") + " end"
    order("type", NAME, "--enter", f"printf %s '{text}' >/tmp/typed; touch /tmp/done")
    until(terminal, "cat /tmp/done && echo there", "there")
    assert terminal.run("cat /tmp/typed") == text


def test_more_than_the_queue_holds_at_once(terminal, order):
    order("type", NAME, "--enter", "cat >/tmp/long")
    for _ in range(10):
        order("type", NAME, "--enter", "0123456789" * 40)
        time.sleep(0.3)
    order("send-key", NAME, "ctrl-d")
    until(terminal, "wc -c </tmp/long", "4010")


def test_keys_held_together(terminal, order):
    order("type", NAME, "-e", "sleep 1000; echo $? >/tmp/ended")
    until(terminal, "pgrep -fc 'sleep 1000'", "1")
    order("send-key", NAME, "ctrl-c")
    order("type", NAME, "-e", "echo $? >/tmp/ended")
    until(terminal, "cat /tmp/ended", "130")


def events_of(guest, order, *commands):
    """What /dev/input has of the mouse while these are done."""
    guest.run("rm -f /tmp/events; E=$(grep -l Mouse /sys/class/input/event*/device/name | head -1 | cut -d/ -f5); "
              "(timeout 8 cat /dev/input/$E >/tmp/events &) ; sleep 1; echo $E")
    for words in commands:
        order("mouse", NAME, *words)
    time.sleep(1)
    raw = bytes.fromhex("".join(guest.run("od -An -v -tx1 /tmp/events").split()))
    return [EVENT.unpack_from(raw, at)[2:] for at in range(0, len(raw) - EVENT.size + 1, EVENT.size)]


def test_the_pointer_moves_and_clicks(guest, order):
    events = events_of(guest, order, ("move", "50%", "25%"), ("click", "right"), ("wheel", "down", "3"))
    assert (EV_ABS, ABS_X, 16384) in events and (EV_ABS, ABS_Y, 8192) in events
    keys = [event for event in events if event[0] == EV_KEY]
    assert keys == [(EV_KEY, BTN_RIGHT, 1), (EV_KEY, BTN_RIGHT, 0)]
    assert events.count((EV_REL, REL_WHEEL, -1)) == 3


@pytest.mark.parametrize("words, code, said", [
    (("send-key", NAME, "ctrl-nokey"), FAILED, "'nokey': no such key"),
    (("type", NAME, "ä"), FAILED, "character 1"),
    (("send-key", NAME), USAGE, "KEY"),
    (("type", NAME), USAGE, "TEXT"),
    (("mouse", NAME, "move", "101%", "0"), USAGE, "100%"),
    (("mouse", NAME, "move", "0", "32768"), USAGE, "32767"),
    (("mouse", NAME, "click", "fourth"), USAGE, "middle"),
    (("mouse", NAME, "wheel", "up", "61"), FAILED, "60"),
    (("mouse", NAME, "jump"), USAGE, "wheel"),
])
def test_what_cannot_be_done_is_told(guest, order, words, code, said):
    assert said in order(*words, code=code)


def test_a_guest_that_reboots_has_its_keys_again(guest, order):
    guest.child.sendline("systemctl reboot")
    guest.child.expect("automatic login", timeout=BOOT_SECONDS)
    guest.child.expect_exact(PROMPT)
    guest.run("dmesg -n 1; export TERM=dumb")
    log_in(guest, order)
