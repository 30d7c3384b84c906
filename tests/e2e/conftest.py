"""What the end-to-end tests share. The program is $PARTITA, else that of the release build.

PARTITA_BOOTS (default 10)  how often each configuration of Linux is booted in a row
PARTITA_STANDIN=qemu        boot the Linux guests with QEMU's TCG instead: a test of the tests
"""
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))

import images  # noqa: E402


@pytest.fixture(scope="session")
def partita():
    program = os.environ.get("PARTITA", str(ROOT / "build/release/src/cli/partita"))
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
    done = subprocess.run([str(ROOT / script), *words], check=True, text=True, stdout=subprocess.PIPE)
    return pathlib.Path(done.stdout.strip())


@pytest.fixture(scope="session")
def kernel():
    return output_of("demo/fetch-kernel", "cloud")


@pytest.fixture(scope="session")
def standard_kernel():
    return output_of("demo/fetch-kernel", "standard")


@pytest.fixture(scope="session")
def initramfs():
    return output_of("demo/mkinitramfs")
