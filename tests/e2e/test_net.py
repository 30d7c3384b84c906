"""Network cards with Debian's own driver, in network namespaces of the test's own."""
import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap
import time

import pexpect
import pytest

import images

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and TAP devices are root's to make")

NAME = "netted"
SECONDS = 240  # for a guest on a machine that does ten other things
HOST, GUEST = "10.9.0.1", "10.9.0.2"


def sh(*words, **more):
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60, **more).stdout


@pytest.fixture(scope="module", autouse=True)
def sockets(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARTITA_RUNTIME_DIR", str(tmp_path_factory.mktemp("sockets")))
        yield


@contextlib.contextmanager
def namespace(name):
    sh("ip", "netns", "add", name)
    try:
        sh("ip", "-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        sh("ip", "netns", "del", name)


@pytest.fixture(scope="module")
def lan():
    """A namespace with a TAP device, whose address is the host's to the guest."""
    with namespace(f"partita-lan-{os.getpid()}") as name:
        sh("ip", "-n", name, "tuntap", "add", "t0", "mode", "tap", "vnet_hdr")
        sh("ip", "-n", name, "addr", "add", f"{HOST}/24", "dev", "t0")
        sh("ip", "-n", name, "link", "set", "t0", "mtu", "9000", "up")
        yield name


@pytest.fixture(scope="module")
def tools(initramfs, tmp_path_factory):
    """The demo's initramfs with the host's iperf3 and ethtool."""
    root = tmp_path_factory.mktemp("initramfs")
    sh("sh", "-c", f"zcat {initramfs} | cpio -id --quiet", cwd=root)
    for program in "iperf3", "ethtool":
        path = shutil.which(program)
        if path is None:
            pytest.fail(f"no {program}; tools/install-deps check installs it")
        shutil.copy(path, root / "bin" / program)
        for library in re.findall(r"/\S+", sh("ldd", path)):
            target = root / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)
    image = root.parent / f"{root.name}.gz"
    sh("sh", "-c", f"find . | cpio -o -H newc --quiet -R 0:0 | gzip -1 >{image}", cwd=root)
    return image


class Guest:
    """A guest at its shell."""

    def __init__(self, partita, kernel, image, where, *words, cpus=2):
        self.partita = partita
        self.child = pexpect.spawn(
            "ip", ["netns", "exec", where, partita, "run", "-k", str(kernel), "-i", str(image), "-m", "512M", "-c",
                   str(cpus), "-a", "console=ttyS0 demo=shell cryptomgr.notests", *map(str, words)],
            timeout=SECONDS, encoding="latin-1", dimensions=(40, 200))
        self.ready()

    def ready(self):
        self.child.expect("guest:/root# ")
        self.run("dmesg -n 1")

    def run(self, command):
        """What a command says, and nothing else."""
        self.child.sendline(f"echo be''gin; {{ {command}\n}}; echo; echo en''d")
        self.child.expect(r"\nbegin\r\n(.*?)\n\r?end\r")
        return self.child.match[1].replace("\r", "").strip()

    def address(self, mtu=1500):
        self.run(f"ifconfig eth0 {GUEST} mtu {mtu} up; for i in $(seq 100); do "
                 f"ping -c 1 -W 1 {HOST} >/dev/null && break; sleep .1; done")

    def pings(self, options="", to=HOST):
        return int(re.search(r"(\d+) packets received", self.run(f"ping -c 5 -i 0.1 -W 2 {options} {to}"))[1])

    def order(self, *words):
        return sh(self.partita, *words)

    def card(self):
        return json.loads(self.order("status", NAME, "--json"))["cards"][0]

    def clean(self):
        """What the kernel would complain of."""
        return self.run("dmesg | grep -E 'WARNING|BUG:|Call Trace|netvsc.*(rror|nvalid|nknown|timeout)'") == ""

    def end(self):
        self.child.sendline("exit")
        self.child.expect(pexpect.EOF)
        self.child.close()
        assert self.child.exitstatus == 0


@pytest.fixture(scope="module")
def start(partita, kernel, tools):
    @contextlib.contextmanager
    def make(where, *words, cpus=2):
        guest = Guest(partita, kernel, tools, where, *words, cpus=cpus)
        try:
            yield guest
            guest.end()
        finally:
            guest.child.close(force=True)
    return make


@pytest.fixture(scope="module")
def guest(start, lan):
    with start(lan, "--name", NAME, "--net", "tap:t0,mac=00:15:5d:01:02:03,mtu=9000") as one:
        one.address()
        yield one


@contextlib.contextmanager
def serving(where, *words):
    child = subprocess.Popen(["ip", "netns", "exec", where, *map(str, words)], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    try:
        time.sleep(1)
        assert child.poll() is None, words
        yield
    finally:
        child.terminate()
        child.wait(timeout=30)


def speed(guest, options):
    """Bits of a second that arrived."""
    said = guest.run(f"iperf3 -c {HOST} -J {options} 2>&1 >/tmp/said; grep -A 99 sum_received /tmp/said | "
                     "grep -m 1 bits_per_second; grep '\"error\"' /tmp/said")
    found = re.search(r"bits_per_second\":\s*([0-9.e+]+)", said)
    assert found, said
    return float(found[1])


def test_the_driver_finds_its_card(guest):
    assert guest.run("cat /sys/class/net/eth0/address") == "00:15:5d:01:02:03"
    assert guest.run("ethtool -i eth0 | grep driver") == "driver: hv_netvsc"
    features = guest.run("ethtool -k eth0")
    for feature in ("rx-checksumming", "tx-checksumming", "scatter-gather", "tcp-segmentation-offload",
                    "tx-tcp6-segmentation", "large-receive-offload"):
        assert f"{feature}: on" in features, feature
    assert guest.run("ethtool -l eth0 | tail -1").split() == ["Combined:", "2"]
    assert guest.pings() == 5
    card = guest.card()
    assert (card["kind"], card["mac"], card["link"], card["used"]) == ("tap", "00:15:5d:01:02:03", True, True)
    assert card["sent_frames"] >= 5 and card["received_frames"] >= 5


@pytest.mark.parametrize("options", ["", "-R", "-P 4", "-P 4 -R", "-u -b 20M", "-u -b 20M -R"])
def test_iperf_runs_both_ways(guest, lan, options):
    with serving(lan, "iperf3", "-s"):
        assert speed(guest, f"-t 2 {options}") > 5e6
    assert guest.clean()


def test_each_queue_is_used(guest, lan):
    with serving(lan, "iperf3", "-s"):
        speed(guest, "-t 2 -P 8 -R")
        speed(guest, "-t 2 -P 8")
    counts = dict(re.findall(r"(.x_queue_\d)_packets: (\d+)", guest.run("ethtool -S eth0")))
    assert all(int(counts[f"{way}_queue_{queue}"]) > 0 for way in ("rx", "tx") for queue in (0, 1)), counts


@pytest.mark.parametrize("setting", ["lro off", "tso off", "gso off tso off", "tx off sg off", "rx off lro off"])
def test_offloads_may_be_off(guest, lan, setting):
    guest.run(f"ethtool -K eth0 {setting}")
    try:
        with serving(lan, "iperf3", "-s"):
            assert speed(guest, "-t 1") > 5e6
            assert speed(guest, "-t 1 -R") > 5e6
    finally:
        guest.run("ethtool -K eth0 rx on tx on sg on tso on gso on lro on")


def test_jumbo_frames(guest):
    guest.address(mtu=9000)
    try:
        assert guest.run("cat /sys/class/net/eth0/mtu") == "9000"
        assert guest.pings("-s 8972") == 5
        assert guest.card()["mtu"] == 9000
        assert guest.run("ethtool -l eth0 | tail -1").split()[1] == "2"  # its sub-channel has come again
    finally:
        guest.address()


def test_the_cable_comes_out_and_in(guest):
    def carrier(wanted):
        return guest.run(f"for i in $(seq 100); do [ $(cat /sys/class/net/eth0/carrier) = {wanted} ] && "
                         "echo yes && break; sleep .1; done") == "yes"
    guest.order("net", NAME, "link", "down")
    assert carrier(0) and not guest.card()["link"]
    assert guest.pings() == 0
    guest.order("net", NAME, "link", "up")
    assert carrier(1) and guest.card()["link"]
    # Linux looks at carriers once a second: until then it drops what is sent.
    guest.run(f"for i in $(seq 50); do ping -c 1 -W 1 {HOST} >/dev/null && break; done")
    assert guest.pings() == 5


def test_the_driver_comes_and_goes(guest):
    for _ in range(5):
        guest.run("ifconfig eth0 down; rmmod hv_netvsc; insmod /modules/hv_netvsc.ko; sleep .5")
        guest.address()
        assert guest.pings() == 5
        assert guest.run("ethtool -l eth0 | tail -1").split()[1] == "2"
    assert guest.clean()


def test_what_the_guest_did_not_ask_for_is_kept_away(guest, lan):
    def received():
        before = guest.card()["received_frames"]
        sh("ip", "netns", "exec", lan, sys.executable, "-c", "import socket; "
           "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); [s.sendto(b'x', ('10.9.0.77', 9)) for i in range(5)]")
        time.sleep(1)
        return guest.card()["received_frames"] - before
    sh("ip", "-n", lan, "neigh", "replace", "10.9.0.77", "lladdr", "02:00:00:00:00:77", "dev", "t0")
    assert received() < 5
    guest.run("ifconfig eth0 promisc; sleep 1")
    assert received() >= 5
    guest.run("ifconfig eth0 -promisc")


def test_a_reboot_finds_the_card_again(guest):
    guest.child.sendline("reboot -f")
    guest.child.expect("Debian's kernel has booted")
    guest.ready()
    assert guest.run("cat /sys/class/net/eth0/address") == "00:15:5d:01:02:03"
    guest.address()
    assert guest.pings() == 5


def test_a_bad_line_is_survived(start, lan):
    sh("ip", "-n", lan, "tuntap", "add", "t1", "mode", "tap", "vnet_hdr")
    sh("ip", "-n", lan, "link", "set", "t0", "down")
    sh("ip", "-n", lan, "addr", "add", f"{HOST}/24", "dev", "t1")
    sh("ip", "-n", lan, "link", "set", "t1", "up")
    with start(lan, "--net", "tap:t1,loss=3", cpus=1) as one, serving(lan, "iperf3", "-s"):
        one.address()
        assert speed(one, "-t 4") > 1e5
        assert speed(one, "-t 4 -R") > 1e5
        assert one.clean()


# ---- another guest behind a socket, and VLANs ----

SWITCH = """
    import select, socket, sys, os
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(sys.argv[1]); listener.listen()
    log = open(sys.argv[2], "wb", 0)
    ports = []
    while True:
        for s in select.select([listener, *ports], [], [])[0]:
            if s is listener:
                ports.append(s.accept()[0]); continue
            frame = s.recv(70000)
            if not frame:
                ports.remove(s); continue
            log.write(frame[12:12 + 18].hex().encode() + b"\\n")
            for other in ports:
                if other is not s:
                    try: other.send(frame, socket.MSG_DONTWAIT)
                    except OSError: pass
"""


def test_two_guests_meet_at_a_socket_within_their_vlans(partita, kernel, tools, lan, tmp_path):
    script = tmp_path / "switch.py"
    script.write_text(textwrap.dedent(SWITCH))
    where = f"socket:{tmp_path}/s"
    with serving(lan, sys.executable, script, tmp_path / "s", tmp_path / "log"):
        one = Guest(partita, kernel, tools, lan, "--net", f"{where},vlan=42,mac=00:15:5d:00:00:01", cpus=1)
        two = Guest(partita, kernel, tools, lan, "--net", f"{where},vlan=42,mac=00:15:5d:00:00:02", "--net",
                    f"{where},vlan=43,mac=00:15:5d:00:00:03", cpus=1)
        one.run("ifconfig eth0 10.7.0.1 up")
        two.run("ifconfig eth0 10.7.0.2 up; sleep 1")
        assert one.pings(to="10.7.0.2") == 5
        two.run("nc -l -p 9 >/tmp/got & sleep .5")
        wanted = one.run("dd if=/dev/urandom of=/tmp/sent bs=1M count=8 2>/dev/null; nc -w 5 10.7.0.2 9 </tmp/sent; "
                         "sha256sum </tmp/sent")
        assert two.run("sleep 2; sha256sum </tmp/got") == wanted
        two.run("ifconfig eth0 0.0.0.0 down; ifconfig eth1 10.7.0.2 up; sleep 1")
        assert one.pings(to="10.7.0.2") == 0  # it is in another
        one.end()
        two.end()
    types = {line[24:32] for line in (tmp_path / "log").read_text().split()}
    assert types == {"8100002a", "8100002b"}


# ---- NAT ----

DNS = """
    import socket, sys
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((sys.argv[1], 53))
    while True:
        q, who = s.recvfrom(512)
        kind = int.from_bytes(q[-4:-2], "big")
        answer = bytes.fromhex("c00c00010001000000050004") + socket.inet_aton(sys.argv[1]) if kind == 1 else b""
        s.sendto(q[:2] + b"\\x81\\x80" + q[4:6] + bytes([0, len(answer) > 0]) + bytes(4) + q[12:] + answer, who)
"""


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """Two namespaces and a wire: partitions run in one, servers in the other, at 10.8.0.2."""
    names = [f"partita-{word}-{os.getpid()}" for word in ("in", "out")]
    folder = tmp_path_factory.mktemp("outside")
    etc = pathlib.Path("/etc/netns") / names[0]
    with namespace(names[0]), namespace(names[1]):
        sh("ip", "-n", names[0], "link", "add", "w0", "type", "veth", "peer", "w0", "netns", names[1])
        for name, address in zip(names, ("10.8.0.1", "10.8.0.2")):
            sh("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "w0")
            sh("ip", "-n", name, "link", "set", "w0", "up")
        sh("ip", "-n", names[0], "route", "add", "default", "via", "10.8.0.2")
        etc.mkdir(parents=True)
        try:
            (etc / "resolv.conf").write_text("nameserver 10.8.0.2\n")
            (folder / "large.bin").write_bytes(os.urandom(32 << 20))
            (folder / "dns.py").write_text(textwrap.dedent(DNS))
            with serving(names[1], sys.executable, folder / "dns.py", "10.8.0.2"), \
                    serving(names[1], sys.executable, "-m", "http.server", "-b", "10.8.0.2", "-d", folder, "80"):
                yield names[0], folder
        finally:
            shutil.rmtree(etc)


def test_nat_gives_address_names_downloads_and_ports(start, outside):
    where, folder = outside
    with start(where, "--net", "nat,forward=tcp:2280:80") as one:
        one.run("printf '#!/bin/sh\\n[ $1 = bound ] && ifconfig $interface $ip netmask $subnet && "
                "route add default gw $router && echo nameserver $dns >/etc/resolv.conf\\n' >/tmp/lease; "
                "chmod 755 /tmp/lease; mkdir -p /etc; ifconfig eth0 up; udhcpc -q -n -i eth0 -s /tmp/lease")
        assert "10.0.2.15" in one.run("ifconfig eth0")
        assert "10.8.0.2" in one.run("nslookup server.example 10.0.2.3 | tail -4")
        wanted = hashlib.sha256((folder / "large.bin").read_bytes()).hexdigest()
        assert wanted in one.run("wget -q -O - http://10.8.0.2/large.bin | sha256sum")
        one.run("mkdir -p /www; dd if=/dev/urandom of=/www/f bs=1M count=8 2>/dev/null; httpd -h /www")
        here = sh("sh", "-c", f"ip netns exec {where} {sys.executable} -c 'import urllib.request as u, hashlib; "
                  "print(hashlib.sha256(u.urlopen(\"http://127.0.0.1:2280/f\").read()).hexdigest())'").strip()
        assert here in one.run("sha256sum /www/f")
        assert one.clean()


def test_passt_has_its_own_files_only(partita, outside, tmp_path):
    where, _ = outside
    (tmp_path / "hang").write_bytes(images.multiboot(images.HALT))
    with open(tmp_path / "file", "w") as other:
        os.set_inheritable(other.fileno(), True)
        child = subprocess.Popen(["ip", "netns", "exec", where, partita, "run", "-k", tmp_path / "hang", "--net", "nat"],
                                 stdin=subprocess.DEVNULL, pass_fds=(other.fileno(),))
    try:
        pids = lambda: pathlib.Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        named = lambda pid: "passt" in pathlib.Path(f"/proc/{pid}/comm").read_text()
        deadline = time.monotonic() + 30
        while not any(map(named, pids())) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)
        pid = next(filter(named, pids()))
        files = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        assert not [path for path in files if str(tmp_path) in path or "partita" in path or "kvm" in path], files
    finally:
        child.terminate()
        child.wait(timeout=30)


def test_a_port_that_is_taken_is_told(partita, kernel, outside):
    where, folder = outside
    with serving(where, sys.executable, "-m", "http.server", "2299"):
        done = subprocess.run(["ip", "netns", "exec", where, partita, "run", "-k", kernel, "--net",
                               "nat,forward=tcp:2299:22"], capture_output=True, text=True, timeout=60,
                              stdin=subprocess.DEVNULL, check=False)
    assert (done.returncode, done.stderr) == (4, "partita: port 2299 of the host is in use\n")


def test_mistakes_are_told(run, kernel):
    for value, text in [("bridge", "nat, switch=NAME"), ("tap:", "tap:NAME"), ("nat,mac=1", "an address is wanted"),
                        ("nat,mtu=1", "576 to 9000"), ("tap:x,forward=tcp:1:2", "by nat only")]:
        done = run("run", "-k", kernel, "--net", value)
        assert done.returncode == 2 and text in done.stderr
    done = run("run", "-k", kernel, "--net", "socket:/nonexistent/s")
    assert done.returncode == 4 and "/nonexistent/s" in done.stderr
    done = run("run", "-k", kernel, "--net", "nat", "--no-hyperv")
    assert done.returncode == 2 and "exclude" in done.stderr
