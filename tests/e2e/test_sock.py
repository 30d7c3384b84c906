"""Sockets between guest and host (hv_sock), and what the agent in the guest does over them."""
import concurrent.futures
import hashlib
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pexpect
import pytest

from test_hyperv import MIB, Debian

NAME = "sock"
AGENT = "/usr/local/sbin/partita-agent"
NO_PARTITION, FAILED = 5, 125
TRANSFER = 200 * MIB
CHUNK = 1 << 18
SECONDS = 240


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sockets")
    path.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARTITA_RUNTIME_DIR", str(path))
        yield path


@pytest.fixture(scope="module")
def guest(partita, debian_image, folder, tmp_path_factory):
    image = tmp_path_factory.mktemp("image") / "root.vhdx"
    shutil.copy(debian_image, image)
    debian = Debian(partita, "--disk", image, "--name", NAME, cpus=2)
    done = subprocess.run([partita, "exec", NAME, "--wait", "120", "true"], timeout=200, check=False)
    assert done.returncode == 0
    yield debian
    assert debian.run("dmesg | grep -cE 'WARNING|BUG:|Call Trace|Oops'").endswith("0")
    assert debian.power_off() == 0
    assert os.listdir(folder) == []


@pytest.fixture
def call(partita, guest):
    def ask(*words, timeout=SECONDS, **more):
        if "input" not in more and "stdin" not in more:
            more["stdin"] = subprocess.DEVNULL
        return subprocess.run([partita, *map(str, words)], capture_output=True, timeout=timeout, check=False,
                              **more)
    return ask


@pytest.fixture
def execute(call):
    def ask(*words, **more):
        done = call("exec", NAME, "-i", "--", *words, **more)
        assert (done.returncode, done.stderr) == (0, b""), words
        return done.stdout
    return ask


@pytest.fixture
def spawn(partita, guest):
    """A command in the guest, under way."""
    started = []

    def start(*words, **more):
        more.setdefault("stdin", subprocess.PIPE)
        child = subprocess.Popen([partita, "exec", NAME, "-i", "--", *words], stdout=subprocess.PIPE, **more)
        started.append(child)
        return child
    yield start
    for child in started:
        child.kill()
        child.wait()


def connect(folder, service):
    """To the guest; the answer's first line, and the socket."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(SECONDS)
    client.connect(str(folder / f"{NAME}.d/vsock"))
    client.sendall(f"CONNECT {service}\n".encode())
    line = b""
    while not line.endswith(b"\n"):
        byte = client.recv(1)
        if not byte:
            break
        line += byte
    return line, client


def connect_when_ready(folder, port):
    """A listener of the guest is there a little later than its process."""
    deadline = time.monotonic() + 60
    while True:
        line, client = connect(folder, port)
        if line.startswith(b"OK "):
            return client
        client.close()
        assert time.monotonic() < deadline, line


class Server:
    """A program of the host that listens for the guest."""

    def __init__(self, folder, service, backlog=64):
        self.path = folder / f"{NAME}.d/vsock_{service}"
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(self.path))
        self.socket.listen(backlog)
        self.socket.settimeout(SECONDS)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.path.unlink()

    def accept(self):
        client = self.socket.accept()[0]
        client.settimeout(SECONDS)
        return client


def send_all(client, total):
    """Random bytes, and their checksum; then no more."""
    block = os.urandom(CHUNK)
    sha = hashlib.sha256()
    for i in range(total // CHUNK):
        piece = i.to_bytes(8, "little") + block[8:]
        sha.update(piece)
        client.sendall(piece)
    client.shutdown(socket.SHUT_WR)
    return sha.hexdigest()


def read_all(client):
    sha = hashlib.sha256()
    length = 0
    while True:
        piece = client.recv(CHUNK)
        if not piece:
            return length, sha.hexdigest()
        sha.update(piece)
        length += len(piece)


def tell_rate(capsys, what, length, seconds):
    with capsys.disabled():
        print(f"\n  hv_sock {what}: {length / seconds / MIB:.0f} MiB/s")


# ---- streams ----

def test_200_mib_from_the_host(folder, spawn, capsys):
    """The guest listens; what it counted comes back behind the host's end."""
    child = spawn("sh", "-c", f"{AGENT} listen 5001 </dev/null | sha256sum")
    client = connect_when_ready(folder, 5001)
    start = time.monotonic()
    wanted = send_all(client, TRANSFER)
    said = child.stdout.read().decode()
    tell_rate(capsys, "to the guest", TRANSFER, time.monotonic() - start)
    assert said.split()[0] == wanted
    assert client.recv(1) == b""


def test_200_mib_from_the_guest(folder, spawn, execute, capsys):
    execute("sh", "-c", f"head -c {TRANSFER} /dev/urandom >/dev/shm/big")
    wanted = execute("sha256sum", "/dev/shm/big").decode().split()[0]
    with Server(folder, 5002) as server:
        child = spawn("sh", "-c", f"{AGENT} connect 5002 </dev/shm/big")
        client = server.accept()
        start = time.monotonic()
        length, sha = read_all(client)
        tell_rate(capsys, "from the guest", length, time.monotonic() - start)
        assert (length, sha) == (TRANSFER, wanted)
        client.close()
        assert child.wait(timeout=60) == 0
    execute("rm", "/dev/shm/big")


@pytest.mark.parametrize("first", ["host", "guest"])
def test_half_closed_both_ways(folder, spawn, first):
    """One side ends; the other still sends, and only then all ends."""
    with Server(folder, 5003) as server:
        child = spawn(AGENT, "connect", "5003")
        client = server.accept()
        if first == "host":
            client.sendall(b"from the host")
            client.shutdown(socket.SHUT_WR)
            assert child.stdout.read(13) == b"from the host"
            assert child.poll() is None
            child.stdin.write(b"from the guest")
            child.stdin.close()
            assert client.recv(100) == b"from the guest"
            assert client.recv(1) == b""
        else:
            child.stdin.write(b"from the guest")
            child.stdin.close()
            assert client.recv(100) == b"from the guest"
            assert client.recv(1) == b""
            client.sendall(b"from the host")
            client.shutdown(socket.SHUT_WR)
            assert child.stdout.read() == b"from the host"
        assert child.wait(timeout=60) == 0
        client.close()


def test_50_connections_at_once(folder, spawn):
    with Server(folder, 5004) as server:
        script = f"for i in $(seq 50); do (echo $i; sleep 1; head -c 300000 /dev/zero) | {AGENT} connect 5004 & done; wait"
        child = spawn("sh", "-c", script)
        clients = [server.accept() for _ in range(50)]
        for client in clients:
            client.sendall(b"x" * 100000)
            client.shutdown(socket.SHUT_WR)
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            told = list(pool.map(read_all, clients))
        assert sorted(length - 300000 for length, _ in told) == sorted(len(f"{i}\n") for i in range(1, 51))
        assert len(child.stdout.read()) == 50 * 100000
        for client in clients:
            client.close()


def test_50_connections_from_the_host(call, guest):
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        told = list(pool.map(lambda i: call("exec", NAME, "sh", "-c", f"sleep 2; echo {i}").stdout, range(50)))
    assert told == [f"{i}\n".encode() for i in range(50)]


def test_nobody_listens_in_the_guest(folder, guest):
    start = time.monotonic()
    line, client = connect(folder, 5999)
    assert line == b"ERROR nobody listens in the guest\n" and client.recv(1) == b""
    assert 2 < time.monotonic() - start < 30


def test_nobody_listens_on_the_host(call):
    done = call("exec", NAME, AGENT, "connect", "5998")
    assert done.returncode == 1 and b"cannot connect to the host" in done.stderr


@pytest.mark.parametrize("line", ["CONNECT", "CONNECT x", "CONNECT 4294967296", "GET / HTTP/1.1", "CONNECT 5\r",
                                  "CONNECT 00000000-facb-11e6-bd58-64006a7986d", "x" * 5000])
def test_a_line_that_asks_for_nothing(folder, guest, line):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(30)
    client.connect(str(folder / f"{NAME}.d/vsock"))
    client.sendall(f"{line}\n".encode())
    assert client.recv(100).startswith(b"ERROR ")


def test_a_service_by_its_guid(folder, spawn):
    child = spawn(AGENT, "listen", "4660", stdin=subprocess.DEVNULL)
    connect_when_ready(folder, 4660).close()
    assert child.wait(timeout=60) == 0
    child = spawn(AGENT, "listen", "4660", stdin=subprocess.DEVNULL)
    client = connect_when_ready(folder, "00001234-FACB-11e6-bd58-64006a7986d3")
    client.sendall(b"by its GUID")
    client.shutdown(socket.SHUT_WR)
    assert child.stdout.read() == b"by its GUID"


def test_a_slow_reader_stalls_nobody_else(folder, spawn, execute):
    with Server(folder, 5005) as server:
        child = spawn("sh", "-c", f"head -c {4 * MIB} /dev/zero | {AGENT} connect 5005")
        slow = server.accept()
        time.sleep(1)
        assert execute("echo", "quick") == b"quick\n"
        assert read_all(slow)[0] == 4 * MIB
        slow.close()
        child.wait(timeout=60)


def test_a_listener_that_takes_no_connection(folder, spawn, execute):
    """Its queue is full: the guest is refused, and the loop goes on."""
    with Server(folder, 5006, backlog=0):
        children = [spawn("sh", "-c", f"{AGENT} connect 5006 </dev/null 2>&1") for _ in range(4)]
        time.sleep(1)
        assert execute("echo", "quick") == b"quick\n"
    for child in children:
        child.wait(timeout=60)


# ---- exec ----

@pytest.mark.parametrize("script, code", [("exit 0", 0), ("exit 42", 42), ("exit 255", 255), ("kill -9 $$", 137),
                                          ("kill -TERM $$", 143)])
def test_exit_codes_are_those_of_the_command(call, script, code):
    assert call("exec", NAME, "--", "sh", "-c", script).returncode == code


@pytest.mark.parametrize("words, code, text", [
    (["nosuch"], 127, "nosuch: No such file"), (["/etc/passwd"], 126, "Permission denied"),
    (["-u", "nobody2", "id"], 125, "no user 'nobody2'"), (["-w", "/nope", "id"], 125, "/nope: No such file")])
def test_what_cannot_be_executed(call, words, code, text):
    done = call("exec", NAME, *words)
    assert done.returncode == code and re.fullmatch(rf"partita: exec: .*{text}.*\n", done.stderr.decode())


def test_standard_streams_are_apart(call):
    done = call("exec", NAME, "--", "sh", "-c", "echo out; echo err >&2; cat", input=b"not passed without -i")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


def test_input_and_output_keep_every_byte(call):
    data = os.urandom(3 * MIB + 17)
    assert call("exec", NAME, "-i", "cat", input=data).stdout == data


def test_input_that_nobody_reads(call):
    done = call("exec", NAME, "-i", "--", "sh", "-c", "exec <&-; sleep 1; echo done", input=bytes(MIB))
    assert (done.returncode, done.stdout) == (0, b"done\n")


def test_environment_user_and_folder(call):
    said = call("exec", NAME, "-e", "COLOUR=red", "--env=EMPTY=", "-u", "nobody", "--cwd", "/tmp", "--", "sh", "-c",
                "id -un; pwd; echo $COLOUR-$EMPTY-$HOME").stdout.decode()
    assert said == "nobody\n/tmp\nred--/nonexistent\n"
    said = call("exec", NAME, "sh", "-c", "id -u; pwd; echo $HOME $USER").stdout.decode()
    assert said == "0\n/root\n/root root\n"
    assert call("exec", NAME, "-u", "0:daemon", "id", "-gn").stdout == b"daemon\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_reach_the_command(spawn, number):
    child = spawn("sh", "-c", "trap 'echo got; exit 7' TERM INT USR1; echo ready; while :; do sleep 0.05; done")
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(number)
    assert child.stdout.read() == b"got\n" and child.wait(timeout=60) == 7


def test_the_third_end_leaves_a_command_that_heeds_none(spawn, execute):
    child = spawn("sh", "-c", "trap 'echo no' TERM INT; echo ready; while :; do sleep 0.05; done")
    assert child.stdout.readline() == b"ready\n"
    for number in signal.SIGTERM, signal.SIGINT:
        child.send_signal(number)
        assert child.stdout.readline() == b"no\n"
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=60) == 143
    execute("sh", "-c", "pkill -9 -f 'trap .echo n[o]' || true")


def test_who_waits_for_an_agent_that_hangs_can_end(spawn, execute):
    execute("sh", "-c", "A=$(pgrep -o partita-agent); "
            "nohup sh -c \"sleep 2; kill -STOP $A; sleep 6; kill -CONT $A\" >/dev/null 2>&1 &")
    time.sleep(4)
    child = spawn("true")
    time.sleep(1)
    assert child.poll() is None
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=5) == 143
    assert execute("echo", "back").strip() == b"back"


def test_signals_pass_input_that_nobody_reads(spawn):
    child = spawn("sh", "-c", "echo ready; sleep 1000")
    assert child.stdout.readline() == b"ready\n"
    feeder = threading.Thread(target=lambda: feed(child.stdin))
    feeder.start()
    time.sleep(0.5)
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=60) == 143
    feeder.join(timeout=30)


def feed(pipe):
    try:
        pipe.write(bytes(MIB))
        pipe.close()
    except BrokenPipeError:
        pass


def test_a_killed_client_takes_its_command_along(spawn, execute):
    child = spawn("sh", "-c", "echo ready; exec sleep 98765")
    assert child.stdout.readline() == b"ready\n"
    child.kill()
    deadline = time.monotonic() + 60
    while execute("sh", "-c", "pgrep -f 'sleep 9876[5]' || true").strip():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_what_is_left_behind_is_not_waited_for(call):
    start = time.monotonic()
    done = call("exec", NAME, "--", "sh", "-c", "sleep 300 & echo started")
    assert (done.returncode, done.stdout) == (0, b"started\n") and time.monotonic() - start < 60
    call("exec", NAME, "pkill", "sleep")


def test_output_to_a_pipe_that_closes(partita, guest):
    done = subprocess.run(f"{partita} exec {NAME} -- yes | head -n 2", shell=True, capture_output=True, timeout=60,
                          check=False)
    assert done.stdout == b"y\ny\n"


def terminal(partita, *words, size=(30, 90)):
    return pexpect.spawn(partita, list(words), timeout=120, encoding="latin-1", dimensions=size)


def test_a_terminal_is_a_terminal(partita, guest):
    child = terminal(partita, "exec", NAME, "-it", "--", "sh", "-c",
                     "trap 'stty size; exit 3' WINCH; tty; stty size; echo ready; while :; do sleep 0.1; done")
    child.expect("/dev/pts/\\d+\r\n30 90\r\nready")
    child.setwinsize(41, 123)
    child.expect("41 123\r\n")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 3


def test_a_shell(partita, guest):
    child = terminal(partita, "shell", NAME)
    child.expect_exact("root@partita:~# ")
    child.sendline("sleep 1000; echo inter''rupted $?")
    time.sleep(1)
    child.send("\x03")
    child.expect_exact("root@partita:~# ")
    child.sendline("echo code $?")
    child.expect("code 130")
    child.sendline("exit 9")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 9


def test_the_terminal_is_given_back(partita, guest):
    host, own = pty.openpty()
    before = subprocess.run(["stty", "-g"], stdin=own, capture_output=True, check=True).stdout
    done = subprocess.run([partita, "exec", NAME, "-it", "true"], stdin=own, stdout=own, stderr=own, timeout=60,
                          preexec_fn=lambda: (os.setsid(), __import__("fcntl").ioctl(own, 0x540E, 0)), check=False)
    assert done.returncode == 0
    assert subprocess.run(["stty", "-g"], stdin=own, capture_output=True, check=True).stdout == before
    os.close(host)
    os.close(own)


def test_a_shell_reads_a_script(call):
    done = call("shell", NAME, input=b"echo from the script; exit 4\n")
    assert done.returncode == 4 and b"from the script" in done.stdout


def test_no_such_partition(call):
    for words in (["exec", "nosuch", "true"], ["shell", "nosuch"], ["cp", "nosuch:/etc/passwd", "."]):
        done = call(*words)
        assert done.returncode == NO_PARTITION and b"no partition named nosuch runs" in done.stderr


def test_who_waits_waits_for_the_partition_too(partita, debian_image, folder, tmp_path):
    """From before it runs on: no name, a name without sockets, sockets without an agent, and then the answer."""
    image = tmp_path / "root.vhdx"
    shutil.copy(debian_image, image)
    early = subprocess.Popen([partita, "exec", "early", "--wait", "200", "echo", "here"], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    asked = []
    with subprocess.Popen([partita, "run", "--disk", image, "--name", "early"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL) as run:
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            asked.append(subprocess.run([partita, "exec", "early", "true"], capture_output=True, timeout=60, check=False))
        said, errors = early.communicate(timeout=300)
        run.terminate()
        run.wait(timeout=60)
    assert (early.returncode, said, errors) == (0, b"here\n", b"")
    assert {done.returncode for done in asked} <= {NO_PARTITION, FAILED}
    assert all(b"no partition" in done.stderr or b"no agent answers" in done.stderr for done in asked), \
        {done.stderr for done in asked}


def test_a_guest_without_an_agent(call):
    call("exec", NAME, "--", "systemctl", "stop", "--no-block", "partita-agent")
    time.sleep(2)
    done = call("exec", NAME, "true")
    assert done.returncode == FAILED and b"no agent answers" in done.stderr


def test_the_agent_comes_back(guest, call):
    guest.run("systemctl start partita-agent")
    assert call("exec", NAME, "--wait", "60", "true").returncode == 0


# ---- cp ----

def test_a_file_there_and_back(call, execute, tmp_path, capsys):
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(os.urandom(64 * MIB))
    there.chmod(0o640)
    os.utime(there, (1000000000, 1000000000))
    start = time.monotonic()
    assert call("cp", there, f"{NAME}:/dev/shm/there").returncode == 0
    tell_rate(capsys, "cp in", 64 * MIB, time.monotonic() - start)
    assert execute("stat", "-c", "%a %Y", "/dev/shm/there") == b"640 1000000000\n"
    assert execute("sha256sum", "/dev/shm/there").split()[0].decode() == hashlib.sha256(there.read_bytes()).hexdigest()
    start = time.monotonic()
    assert call("cp", f"{NAME}:/dev/shm/there", back).returncode == 0
    tell_rate(capsys, "cp out", 64 * MIB, time.monotonic() - start)
    assert back.read_bytes() == there.read_bytes() and back.stat().st_mode & 0o7777 == 0o640
    execute("rm", "/dev/shm/there")


def test_names_as_docker_has_them(call, execute, tmp_path):
    source = tmp_path / "src"
    (source / "deep/er").mkdir(parents=True)
    (source / "deep/er/file").write_text("deep")
    (source / "link").symlink_to("deep/er/file")
    (source / "run").write_text("#!/bin/sh\n")
    (source / "run").chmod(0o755)
    execute("sh", "-c", "rm -rf /tmp/cp; mkdir /tmp/cp")
    assert call("cp", source, f"{NAME}:/tmp/cp").returncode == 0          # into a folder: keeps its name
    assert call("cp", source, f"{NAME}:/tmp/cp/new").returncode == 0      # to a new name
    assert call("cp", f"{source}/.", f"{NAME}:/tmp/cp/new").returncode == 0  # contents only
    said = execute("sh", "-c", "cd /tmp/cp; find . | sort; cat src/link; test -x src/run").decode()
    inner = ["", "/deep", "/deep/er", "/deep/er/file", "/link", "/run"]
    assert said.split() == [".", *(f"./new{x}" for x in inner), *(f"./src{x}" for x in inner), "deep"]
    assert call("cp", f"{NAME}:/tmp/cp", tmp_path).returncode == 0
    assert (tmp_path / "cp/src/link").read_text() == "deep"
    assert os.readlink(tmp_path / "cp/src/link") == "deep/er/file"
    assert call("cp", f"{NAME}:/tmp/cp/src/run", f"{tmp_path}/cp/").returncode == 0
    assert os.access(tmp_path / "cp/run", os.X_OK)


@pytest.mark.parametrize("words, text", [
    (["SOURCE", "NAME:/nope/x"], "NAME:/nope/x: No such file"), (["SOURCE", "NAME:/nope/"], "NAME:/nope/: No such file"),
    (["NAME:/nope", "."], "NAME:/nope: No such file"), (["/nope", "NAME:/tmp"], "/nope: No such file"),
    (["NAME:/etc", "SOURCE"], "SOURCE: Not a directory"), (["SOURCE", "NAME:/proc/x"], "NAME:/proc/x"),
    (["NAME:nope", "."], "NAME:nope: No such file"), (["NAME:/etc", "-"], "standard output: Is a directory")])
def test_copies_that_cannot_be(call, tmp_path, words, text):
    (tmp_path / "source").write_text("x")
    *words, text = (word.replace("NAME", NAME).replace("SOURCE", str(tmp_path / "source")) for word in [*words, text])
    done = call("cp", *words)
    assert done.returncode == 1 and re.fullmatch(rf"partita: cp: {text}.*\n", done.stderr.decode())
    assert done.stdout == b""


def test_a_relative_path_of_the_guest_is_in_roots_home(call, execute, tmp_path):
    (tmp_path / "source").write_text("x")
    assert call("cp", "-r", tmp_path / "source", f"{NAME}:relative").returncode == 0
    assert execute("cat", "/root/relative") == b"x"
    assert call("cp", f"{NAME}:relative", tmp_path / "back").returncode == 0
    assert (tmp_path / "back").read_text() == "x"
    execute("rm", "/root/relative")


def test_a_file_goes_to_standard_output(partita, call, execute, tmp_path):
    done = call("cp", f"{NAME}:/etc/passwd", "-", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"") and done.stdout == execute("cat", "/etc/passwd")
    with open(tmp_path / "file", "wb") as file:
        file.write(b"before ")
        file.flush()
        assert subprocess.run([partita, "cp", f"{NAME}:/etc/hostname", "-"], stdout=file, check=False).returncode == 0
    assert (tmp_path / "file").read_bytes() == b"before " + execute("cat", "/etc/hostname")
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_is_told_and_leaves_nothing(call, execute, tmp_path):
    big = tmp_path / "big"
    big.write_bytes(bytes(8 * MIB))
    execute("sh", "-c", "mkdir -p /mnt/small; mount -t tmpfs -o size=2M small /mnt/small")
    done = call("cp", big, f"{NAME}:/mnt/small/big")
    assert done.returncode == 1 and b"No space left" in done.stderr
    assert execute("ls", "-A", "/mnt/small") == b""
    execute("umount", "/mnt/small")


def test_no_progress_and_no_words_without_a_terminal(call, tmp_path):
    (tmp_path / "file").write_bytes(bytes(MIB))
    done = call("cp", tmp_path / "file", f"{NAME}:/tmp")
    assert (done.stdout, done.stderr) == (b"", b"")


# ---- ends ----

def test_a_reboot_ends_connections(folder, partita, guest, spawn):
    """Streams of both kinds end, and the guest that comes up has new ones."""
    with Server(folder, 5007) as server:
        inward = spawn("sh", "-c", "echo ready; sleep 1000")
        assert inward.stdout.readline() == b"ready\n"
        outward = spawn("sh", "-c", f"sleep 1000 | {AGENT} connect 5007")
        client = server.accept()
        guest.child.sendline("echo b >/proc/sysrq-trigger")
        assert client.recv(1) == b""
        assert inward.wait(timeout=60) == FAILED
        assert outward.wait(timeout=60) == FAILED
        client.close()
    done = subprocess.run([partita, "exec", NAME, "--wait", "300", "--", "cat", "/proc/uptime"], capture_output=True,
                          timeout=400, check=False)
    assert done.returncode == 0
    guest.child.expect("automatic login", timeout=400)
    guest.child.expect_exact("root@partita:~# ")
    guest.run("bind 'set enable-bracketed-paste off'; dmesg -n 1; export TERM=dumb")


def test_the_loop_rests(guest, folder):
    """Connections that have ended, in whichever way, cost no processor time."""
    for _ in range(20):
        connect(folder, 610)[1].close()
    line, idle = connect(folder, 610)
    idle.shutdown(socket.SHUT_WR)
    time.sleep(5)
    guest.run("true")
    before = processor_time(guest.child.pid)
    time.sleep(5)
    assert processor_time(guest.child.pid) - before < 2.5
    idle.close()


def processor_time(pid):
    with open(f"/proc/{pid}/task/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
