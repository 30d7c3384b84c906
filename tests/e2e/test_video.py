"""A guest's screen: what is typed on its terminal is read in a screenshot, and through VNC."""
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest
from PIL import Image, ImageChops, ImageStat

from screens import Font, Viewer, read_png
from test_hyperv import BOOT_SECONDS, PROMPT, Debian

NAME = "video"
FAILED, USAGE, FILE, NO_PARTITION = 1, 2, 3, 5
GUEST_SECONDS = 60
CHARACTERS = "".join(chr(c) for c in range(0x20, 0x7f))
MOST_VIEWERS = 16
EVENT = struct.Struct("<qqHHi")  # struct input_event of a 64-bit kernel


@pytest.fixture(scope="module", autouse=True)
def sockets(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARTITA_RUNTIME_DIR", str(tmp_path_factory.mktemp("sockets")))
        yield


def start(partita, debian_image, folder, size, name):
    disk = folder / "root.vhdx"
    shutil.copy(debian_image, disk)
    debian = Debian(partita, "--disk", disk, "--name", name, "--video", size, cpus=2)
    deadline = time.monotonic() + GUEST_SECONDS
    while "hyperv_fb" not in debian.run("cat /proc/fb"):
        assert time.monotonic() < deadline, debian.run("dmesg | grep -i hyperv_fb")
        time.sleep(0.5)
    debian.run("echo 0 >/sys/class/graphics/fbcon/cursor_blink; setterm --term linux --blank 0 >/dev/tty1")
    return debian


@pytest.fixture(scope="module")
def guest(partita, debian_image, tmp_path_factory):
    debian = start(partita, debian_image, tmp_path_factory.mktemp("disks"), "1024x768", NAME)
    yield debian
    debian.child.terminate(force=True)


def shot(order, name=NAME):
    return read_png(order("screenshot", name, "-", text=False))


def learn_font(guest, order, name=NAME):
    quoted = CHARACTERS.replace("'", "'\\''")
    guest.run(f"printf '\\033[2J\\033[1;1H%s' '{quoted}' >/dev/tty1; sleep 0.3")
    return Font(shot(order, name), 0, CHARACTERS)


@pytest.fixture(scope="module")
def font(guest, order):
    return learn_font(guest, order)


@pytest.fixture(scope="module")
def terminal(guest, font, order):
    """Somebody has logged in on tty1, by the keyboard alone."""
    guest.run("systemctl restart getty@tty1")
    wait_for(lambda: "partita login:" in "\n".join(font.read(shot(order))))
    order("type", NAME, "--enter", "root")
    wait_for(lambda: guest.run("who | grep -c tty1") == "1")
    order("type", NAME, "--enter", "PS1='> '; clear")
    return guest


@pytest.fixture
def viewer(order):
    found = Viewer(order("vnc", NAME, "--path").strip())
    yield found
    found.close()


def wait_for(condition, seconds=GUEST_SECONDS):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_what_is_typed_is_seen_in_a_screenshot(terminal, font, order):
    text = "echo The quick brown fox, 0123456789 times: {[(<~!@#%^&*_+=|/?>)]} | tr a-z A-Z"
    order("type", NAME, "--enter", text.replace("(<", "'(<").replace(">)", ">)'"))
    wait_for(lambda: "THE QUICK BROWN FOX" in "\n".join(font.read(shot(order))))
    lines = font.read(shot(order))
    assert any(line.startswith("> echo The quick brown fox, 0123456789 times") for line in lines), lines
    assert "THE QUICK BROWN FOX, 0123456789 TIMES: {[(<~!@#%^&*_+=|/?>)]}" in lines, lines


def test_the_kernel_speaks_to_it(terminal, font, order):
    """Its messages go to the screen as well, and programs to the serial port first."""
    terminal.run("dmesg -n 8; echo '<3>a word from the kernel' >/dev/kmsg; dmesg -n 1; sleep 0.3")
    assert any("a word from the kernel" in line for line in font.read(shot(order)))
    assert terminal.run("cat /sys/class/tty/console/active") == "tty0 ttyS0"


def test_colours_are_right(terminal, order):
    terminal.run("printf '\\033[2J\\033[1;1H\\033[41m  \\033[42m  \\033[44m  \\033[0m' >/dev/tty1; sleep 0.3")
    picture = shot(order)
    red, green, blue = (picture.pixels[column * 16 * 3:column * 16 * 3 + 3] for column in range(3))
    assert (red, green, blue) == (b"\xaa\0\0", b"\0\xaa\0", b"\0\0\xaa")


def test_a_viewer_sees_what_a_screenshot_shows(terminal, viewer, order):
    order("type", NAME, "--enter", "clear; ls --color /; seq 20")
    time.sleep(1)
    assert viewer.name == NAME
    assert (viewer.width, viewer.height) == (1024, 768)
    packed = Viewer(order("vnc", NAME, "--path").strip(), encodings=(16, 0))
    wanted = shot(order).pixels
    assert viewer.look().pixels == wanted
    assert packed.look().pixels == wanted
    assert len(set(wanted)) > 3
    packed.close()


def test_a_viewer_is_told_what_changes_and_no_more(terminal, viewer, font):
    viewer.look()
    viewer.ask()
    viewer.follow()  # what its coming has set off
    assert viewer.follow(2) == 0
    terminal.run("printf '\\033[2J\\033[5;1Hnews\\n' >/dev/tty1")
    assert viewer.has_news(10)
    assert viewer.follow() > 0
    assert font.read(viewer.picture())[4] == "news"


def test_a_viewer_types(terminal, viewer, font, order):
    order("type", NAME, "--enter", "clear")
    viewer.type("echo Typed By A Viewer: 'x|y' | rev\n")
    wait_for(lambda: "y|x :reweiV A yB depyT" in font.read(viewer.look()))


def test_a_viewer_types_keys_by_their_place(terminal, viewer, font, order):
    order("type", NAME, "--enter", "clear")
    viewer.look()
    assert viewer.extended_keys or viewer.look() and viewer.extended_keys
    for code, down in [(0x2a, 1), (0x23, 1), (0x23, 0), (0x2a, 0), (0x17, 1), (0x17, 0)]:  # H i
        viewer.press_code(0, code, down)
    wait_for(lambda: font.read(viewer.look())[0].startswith("> Hi"))
    for code in (0xcb, 0xcb, 0xd3, 0x1c):  # left, left, delete, enter: with the prefix as bit 7
        viewer.press_code(0, code, 1)
        viewer.press_code(0, code, 0)
    wait_for(lambda: any("i: command not found" in line for line in font.read(viewer.look())))


def test_keys_of_a_viewer_that_leaves_are_let_go(terminal, order, font):
    order("type", NAME, "--enter", "clear")
    left = Viewer(order("vnc", NAME, "--path").strip())
    left.press(0xffe3, 1)  # ctrl
    left.look()
    left.close()
    time.sleep(0.5)
    order("type", NAME, "--enter", "echo with no ctrl")
    wait_for(lambda: "with no ctrl" in font.read(shot(order)))


def test_a_viewer_points(terminal, viewer):
    device = terminal.run("grep -l 'Microsoft Vmbus HID' /sys/class/input/event*/device/name | cut -d/ -f5 | tail -1")
    terminal.run(f"timeout 20 head -c {EVENT.size * 12} /dev/input/{device} >/tmp/events & sleep 1")
    viewer.point(512, 384)
    viewer.point(1023, 767, 4)
    viewer.point(1023, 767)
    viewer.point(1023, 767, 8)
    terminal.run("wait; sleep 2")
    raw = bytes.fromhex(terminal.run("od -An -v -tx1 /tmp/events | tr -d ' \\n'"))
    events = [EVENT.unpack_from(raw, i)[2:] for i in range(0, len(raw) - EVENT.size + 1, EVENT.size)]
    assert (3, 0, 32767 * 512 // 1023) in events and (3, 1, 32767) in events, events
    assert (1, 0x111, 1) in events and (1, 0x111, 0) in events, events


def test_one_that_does_not_read_holds_nobody_up(terminal, viewer, order):
    slow = Viewer(order("vnc", NAME, "--path").strip())
    for _ in range(200):
        slow.ask(incremental=False)
    before = time.monotonic()
    for _ in range(3):
        viewer.look()
    assert time.monotonic() - before < 10
    slow.close()


def test_there_are_so_many_viewers_and_no_more(terminal, order):
    path = order("vnc", NAME, "--path").strip()
    viewers = [Viewer(path) for _ in range(MOST_VIEWERS)]
    extra = socket.socket(socket.AF_UNIX)
    extra.settimeout(10)
    extra.connect(path)
    assert extra.recv(1) == b""
    assert "closed" in order("screenshot", NAME, "-", code=FAILED)
    viewers.pop().close()
    wait_for(lambda: shot(order).width == 1024, 10)
    for viewer in viewers:
        viewer.close()


def test_one_that_makes_no_sense_is_left(terminal, order):
    path = order("vnc", NAME, "--path").strip()
    odd = Viewer(path)
    odd.socket.sendall(b"\x7f" * 100)
    with pytest.raises((EOFError, ConnectionResetError)):
        while True:
            odd.get(1)
    stranger = socket.socket(socket.AF_UNIX)
    stranger.settimeout(10)
    stranger.connect(path)
    stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert stranger.recv(12) == b"RFB 003.008\n"
    assert stranger.recv(1) == b""
    assert shot(order).width == 1024


def test_vnc_is_served_on_the_loopback_until_it_is_interrupted(terminal, partita, order, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    serving = subprocess.Popen([partita, "vnc", NAME, "--port", str(port)], stdout=subprocess.PIPE, text=True)
    assert f"127.0.0.1:{port}" in serving.stdout.readline()
    terminal.run("ls --color / /etc >/dev/tty1; sleep 0.5")
    viewer = Viewer(("127.0.0.1", port), encodings=(16,))
    assert viewer.look().pixels == shot(order).pixels
    # A viewer that others have written.
    picture = tmp_path / "shot.jpg"
    done = subprocess.run(["vncsnapshot", "-quiet", "-quality", "95", f"127.0.0.1:{port - 5900}", picture],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done
    wanted = Image.frombytes("RGB", (1024, 768), viewer.look().pixels)
    apart = ImageStat.Stat(ImageChops.difference(Image.open(picture), wanted)).mean
    assert max(apart) < 2 < max(ImageStat.Stat(wanted).mean), apart  # JPEG is not exact
    taken = order("vnc", NAME, "--port", str(port), code=FAILED)
    assert "in use" in taken
    # Another user has no business there.
    stranger = subprocess.run([sys.executable, "-c", "import socket, sys; s = socket.create_connection(('127.0.0.1', "
                               f"{port})); s.settimeout(10); sys.stdout.write(repr(s.recv(12)))"], user=65534,
                              capture_output=True, text=True, timeout=60, check=True)
    assert stranger.stdout == "b''"
    assert viewer.look().width == 1024
    serving.send_signal(signal.SIGINT)
    assert serving.wait(timeout=10) == 0
    viewer.close()


def test_screenshots_go_where_they_should(terminal, order, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert order("screenshot", NAME) == f"{NAME}.png: 1024 x 768 pixels\n"
    assert read_png((tmp_path / f"{NAME}.png").read_bytes()).width == 1024
    assert "--force" in order("screenshot", NAME, code=FILE)
    order("screenshot", NAME, "--force")
    assert "No such file" in order("screenshot", NAME, "/nowhere/x.png", code=FILE)
    assert "No space left" in order("screenshot", NAME, "/dev/full", "--force", code=FILE)
    assert pathlib.Path("/dev/full").is_char_device()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{NAME}.png"]
    assert "no partition named other" in order("screenshot", "other", code=NO_PARTITION)
    assert "no partition named other" in order("vnc", "other", code=NO_PARTITION)


@pytest.mark.parametrize("size", ["", "800", "800x", "639x480", "640x479", "4097x480", "800x600x32", "-800x600"])
def test_sizes_that_cannot_be_are_refused(order, size):
    assert "WIDTHxHEIGHT is wanted, from 640x480 to 4096x4096" in order("run", "--kernel", "x", f"--video={size}", code=USAGE)


def test_a_screen_needs_a_name_to_be_looked_at(order):
    assert "needs --name" in order("run", "--kernel", "x", "--video", "800x600", code=USAGE)
    assert "exclude" in order("run", "--kernel", "x", "--name", "x", "--video", "800x600", "--no-hyperv", code=USAGE)


def test_the_screen_of_a_guest_that_starts_anew_is_seen(terminal, viewer, font):
    """Last but one: the guest is not as it was. A viewer stays connected all the while."""
    viewer.look()
    terminal.child.sendline("reboot")
    terminal.child.expect("automatic login", timeout=BOOT_SECONDS)
    terminal.child.expect_exact(PROMPT)
    wait_for(lambda: "hyperv_fb" in terminal.run("cat /proc/fb"))
    terminal.run("printf '\\033[2J\\033[3;1Hback again\\n' >/dev/tty1")
    wait_for(lambda: font.read(viewer.look())[2] == "back again")


def test_a_large_screen_lies_in_memory_of_its_own(partita, debian_image, tmp_path_factory, order):
    guest = start(partita, debian_image, tmp_path_factory.mktemp("large"), "1920x1080", "large")
    try:
        assert "MMIO" in guest.run("dmesg | grep hyperv_fb")
        font = learn_font(guest, order, "large")
        guest.run("printf '\\033[60;200Hin the corner\\033[1;1H' >/dev/tty1; sleep 0.5")
        picture = shot(order, "large")
        assert (picture.width, picture.height) == (1920, 1080)
        assert font.read(picture)[59].strip() == "in the corner"
    finally:
        guest.child.terminate(force=True)
