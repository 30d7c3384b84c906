"""What the end-to-end tests share. The program is $PARTITA, else that of the release build.

PARTITA_BOOTS (default 10)  how often each configuration of Linux is booted in a row
PARTITA_MEMTEST_SECONDS     how long memtest86+ may take for its pass (default 1200)
PARTITA_STANDIN=qemu        boot the Linux guests with QEMU's TCG instead: a test of the tests
"""
import fcntl
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))

import images  # noqa: E402


PROGRAM = os.environ.get("PARTITA", str(ROOT / "build/release/src/cli/partita"))
MEMTEST = "/boot/memtest86+x64.bin"


class Memtest:
    """memtest86+ in a guest, its console in a file."""

    def __init__(self):
        self.output = tempfile.NamedTemporaryFile(prefix="partita-memtest-")
        self.process = subprocess.Popen(
            [PROGRAM, "run", "-k", MEMTEST, "-m", "64M", "-a", "console=ttyS0,115200", "--serial",
             f"file:{self.output.name}"], stdin=subprocess.DEVNULL)

    def wait_for(self, done, seconds):
        """Until `done` of the output, the guest's end, or the limit; returns the output."""
        deadline = time.monotonic() + seconds
        while True:
            text = pathlib.Path(self.output.name).read_text("latin-1")
            if done(text) or self.process.poll() is not None or time.monotonic() > deadline:
                return text
            time.sleep(1)

    def end(self):
        self.process.terminate()
        self.process.wait(timeout=30)
        self.output.close()


def pytest_collection_finish(session):
    wanted = any("memtest" in item.fixturenames for item in session.items)
    if wanted and not session.config.option.collectonly:
        session.config.memtest = Memtest()


def pytest_unconfigure(config):
    if hasattr(config, "memtest"):
        config.memtest.end()


@pytest.fixture
def memtest(request):
    return request.config.memtest


@pytest.fixture(scope="session")
def partita():
    program = PROGRAM
    if not os.access(program, os.X_OK):
        pytest.fail(f"{program} is not there: build it, or set PARTITA")
    return program


@pytest.fixture
def run(partita):
    """Run the program to its end; its standard input is empty unless given."""
    def call(*words, timeout=60, **more):
        more.setdefault("stdin", subprocess.DEVNULL if "input" not in more else None)
        if more["stdin"] is None:
            del more["stdin"]
        return subprocess.run([partita, *map(str, words)], capture_output=True, text=True,
                              timeout=timeout, check=False, **more)
    return call


@pytest.fixture
def image(tmp_path):
    """Write a bare-metal guest of these instructions and return its path."""
    def make(code, name="guest"):
        path = tmp_path / name
        path.write_bytes(images.multiboot(code))
        return path
    return make


def output_of(script, *words):
    """One at a time makes what is not there yet: files of tests run beside each other."""
    lock = os.open(ROOT / "demo", os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run([str(ROOT / script), *words], check=True, text=True, stdout=subprocess.PIPE)
    finally:
        os.close(lock)
    return pathlib.Path(done.stdout.strip())


@pytest.fixture(scope="module")
def order(partita):
    """Run a command that asks a partition; what it says, or, when it should fail, what it complains of."""
    def send(*words, code=0, text=True):
        done = subprocess.run([partita, *words], capture_output=True, text=text, timeout=60, check=False)
        assert done.returncode == code, (words, done)
        return done.stdout if code == 0 else done.stderr
    return send


@pytest.fixture(scope="session")
def kernel():
    return output_of("demo/fetch-kernel", "cloud")


@pytest.fixture(scope="session")
def standard_kernel():
    return output_of("demo/fetch-kernel", "standard")


@pytest.fixture(scope="session")
def debian_image():
    return output_of("demo/mkimage")


@pytest.fixture(scope="session")
def initramfs():
    return output_of("demo/mkinitramfs")
