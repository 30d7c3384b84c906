"""perf(1) names translated guest code by the file that --perf-map writes."""
import base64
import gzip
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[2]
INIT = """#!/bin/busybox sh
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
i=0
while [ $i -lt 20000 ]; do i=$((i + 1)); [ -e /proc/$i ]; done
echo @@SYMBOLS
[ "$symbols" != yes ] || grep -i ' t ' /proc/kallsyms | gzip | base64
echo @@END
poweroff -f
"""


def why_not(folder):
    """Why this host gives perf nothing, or None."""
    if shutil.which("perf") is None:
        return "no perf: tools/install-deps check installs it"
    tried = subprocess.run(["perf", "record", "-q", "-e", "cpu-clock:u", "-o", folder / "try", "true"],
                           capture_output=True, text=True, check=False)
    return f"perf record: {tried.stderr.strip()[:200]}" if tried.returncode != 0 else None


@pytest.fixture(scope="module")
def initramfs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("perf")
    (folder / "init").write_text(INIT)
    subprocess.run([ROOT / "demo/mkinitramfs", folder / "initramfs.gz", folder / "init"], check=True,
                   stdout=subprocess.PIPE)
    return folder / "initramfs.gz"


@pytest.fixture
def recorded(partita, kernel, initramfs, tmp_path):
    """Boot under perf: what the guest said, the lines of the map, and of perf's report."""
    reason = why_not(tmp_path)
    if reason is not None:
        pytest.skip(reason)
    maps = []

    def call(append, *words):
        data = tmp_path / "data"
        process = subprocess.Popen(
            ["perf", "record", "-q", "-e", "cpu-clock:u", "-F", "500", "-o", data, "--", partita, "run",
             "-k", kernel, "-i", initramfs, "-a", f"console=ttyS0 quiet panic=-1 {append}", "--perf-map", *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        said, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
        script = subprocess.run(["perf", "script", "-i", data, "-F", "pid,ip,sym"], capture_output=True, text=True,
                                check=True, timeout=120).stdout.splitlines()
        maps.append(pathlib.Path(f"/tmp/perf-{script[0].split()[0]}.map"))
        return said.replace("\r", ""), maps[-1].read_text().splitlines(), [line.split(None, 2)[-1] for line in script]
    yield call
    for path in maps:
        path.unlink(missing_ok=True)


def test_perf_names_the_guests_code(recorded):
    _, lines, samples = recorded("")
    assert all(re.fullmatch(r"[0-9a-f]+ [0-9a-f]+ (translator:routines|guest_(kernel|user):0x[0-9a-f]+)", line)
               for line in lines)
    assert any(name.startswith("guest_kernel:0xffffffff") for name in samples)
    assert any(name.startswith("guest_user:0x") for name in samples)
    # What perf found in the mapping of translations has a name, but for what it saw before it was named.
    assert sum("[unknown]" in name for name in samples) < len(samples) / 20


def test_perf_names_functions_of_the_guests_kernel(recorded, tmp_path):
    """With symbols of one boot in another, which KASLR has put elsewhere."""
    said, _, _ = recorded("symbols=yes", "-m", "512M")
    table = gzip.decompress(base64.b64decode(said.split("@@SYMBOLS\n")[1].split("@@END")[0]))
    (tmp_path / "kallsyms").write_bytes(table)
    assert table.count(b"\n") > 10000
    _, lines, samples = recorded("", "--symbols", tmp_path / "kallsyms")
    named = {name.split("+")[0] for name in samples if re.match(r"guest_kernel:[a-zA-Z_]", name)}
    assert len(named) >= 10, named
    # A path lookup of thousands goes through these.
    walked = {line.split()[2].split("+")[0] for line in lines}
    assert {"guest_kernel:lookup_fast", "guest_kernel:do_syscall_64", "guest_kernel:entry_SYSCALL_64"} <= walked
