"""Code that others change while it runs: the kernel's text by its own tracers, and JIT compilers.

PARTITA_STORM_SECONDS   how long each storm lasts (default 15)
"""
import os
import pathlib
import re
import shutil
import tarfile

import pytest

from conftest import output_of
from test_hyperv import Debian

SECONDS = int(os.environ.get("PARTITA_STORM_SECONDS", "15"))
HERE = pathlib.Path(__file__).resolve().parent
WORKERS = {"files", "forks", "load-modules", "luajit", "node", "pipes", "toggle-keys", "toggle-probes",
           "trace-functions"}


@pytest.fixture(scope="module")
def storm_image():
    return output_of("demo/mkimage", "storm")


@pytest.fixture
def disks(storm_image, tmp_path):
    shutil.copy(storm_image, tmp_path / "root.vhdx")
    with tarfile.open(tmp_path / "storm.tar", "w") as tar:
        tar.add(HERE / "storm", arcname="storm")
    return ["--disk", tmp_path / "root.vhdx", "--disk", f"{tmp_path / 'storm.tar'},ro"]


@pytest.mark.parametrize("cpus", [2, 4])
def test_code_that_others_change_runs_right(partita, disks, cpus):
    guest = Debian(partita, *disks, cpus=cpus)
    assert guest.run(f"tar xf {guest.disk(1)} && echo unpacked") == "unpacked"
    said = guest.run(f"sh storm/storm {SECONDS}", timeout=600 + 4 * SECONDS)
    assert "the storm is over" in said, said
    results = dict(re.findall(r"^out/(\S+): (.*)$", said, re.M))
    wrong = [line for line in said.splitlines() if not re.fullmatch(r"out/\S+: ok [1-9]\d*", line)]
    assert wrong == ["the storm is over"], said
    assert set(results) == WORKERS
    print(said)
    assert guest.power_off() == 0
