"""What is read of machines and containers, most of them made of files; and of this one."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import joblib
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from preprocess.system import machine as machine_module
from preprocess.system.machine import (
    MAX_CPUS,
    Machine,
    format_cpu_list,
    multiplies_bfloat16,
    parse_cpu_list,
    read_machine,
)

GIB = 2**30
HOST = {"sockets": 2, "cores": 32, "threads": 2}
V2_MOUNT = ("/", "/sys/fs/cgroup", "cgroup2", "rw,nsdelegate")
# The files of a container with two CPUs' worth of time: groups by path, mounts, limits.
CONTAINERS = {
    "v2 with a namespace": (
        ["0::/"],
        [V2_MOUNT],
        {"cpu.max": "200000 100000"},
    ),
    "v2 under a tighter group": (
        ["0::/pod/app"],
        [V2_MOUNT],
        {"pod/app/cpu.max": "400000 100000", "pod/cpu.max": "100000 50000"},
    ),
    "v2 without limits of its own": (
        ["0::/pod/app"],
        [V2_MOUNT],
        {"pod/app/cpu.max": "max 100000", "pod/cpu.max": "200000 100000"},
    ),
    "v2 below a group that is not mounted": (
        ["0::/kubepods/pod/abc"],
        [V2_MOUNT],
        {"cpu.max": "200000 100000"},
    ),
    "v2 beside the namespace": (
        ["0::/../other"],
        [V2_MOUNT],
        {"cpu.max": "200000 100000", "../other/cpu.max": "100000 100000"},
    ),
    "v1 docker without a namespace": (
        ["5:cpuset:/", "4:cpu,cpuacct:/docker/abc/worker", "1:name=systemd:/x:y"],
        [("/docker/abc", "/sys/fs/cgroup/cpu,cpuacct", "cgroup", "rw,cpu,cpuacct")],
        {
            "cpu,cpuacct/cpu.cfs_quota_us": "800000",
            "cpu,cpuacct/cpu.cfs_period_us": "100000",
            "cpu,cpuacct/worker/cpu.cfs_quota_us": "200000",
            "cpu,cpuacct/worker/cpu.cfs_period_us": "100000",
        },
    ),
    "v1 of which two parts are mounted": (
        ["4:cpu:/docker/abc"],
        [
            ("/docker/ab", "/sys/fs/cgroup/other", "cgroup", "rw,cpu"),
            ("/docker/abc", "/sys/fs/cgroup/own", "cgroup", "rw,cpu"),
            ("/", "/sys/fs/cgroup/all", "cgroup", "rw,cpu"),
        ],
        {
            "other/cpu.cfs_quota_us": "50000",
            "other/cpu.cfs_period_us": "100000",
            "all/docker/cpu.cfs_quota_us": "200000",
            "all/docker/cpu.cfs_period_us": "100000",
            "all/docker/abc/cpu.cfs_quota_us": "-1",
            "all/docker/abc/cpu.cfs_period_us": "100000",
        },
    ),
    "v1 beside a group whose name begins alike": (
        ["4:cpu:/docker/abc"],
        [
            ("/docker/a", "/sys/fs/cgroup/other", "cgroup", "rw,cpu"),
            ("/docker/abc", "/sys/fs/cgroup/own", "cgroup", "rw,cpu"),
        ],
        {
            "other/cpu.cfs_quota_us": "50000",
            "other/cpu.cfs_period_us": "100000",
            "own/cpu.cfs_quota_us": "200000",
            "own/cpu.cfs_period_us": "100000",
        },
    ),
    "v1 under another name than the mount's": (
        ["4:cpu:/"],
        [("/docker/abc", "/sys/fs/cgroup/limits", "cgroup", "rw,cpu")],
        {"limits/cpu.cfs_quota_us": "200000", "limits/cpu.cfs_period_us": "100000"},
    ),
    "hybrid": (
        ["4:cpu:/app", "0::/app"],
        [
            ("/", "/sys/fs/cgroup/cpu", "cgroup", "rw,cpu"),
            ("/", "/sys/fs/cgroup/unified", "cgroup2", "rw"),
        ],
        {"cpu/app/cpu.cfs_quota_us": "200000", "cpu/app/cpu.cfs_period_us": "100000"},
    ),
    "mount point with a space": (
        ["0::/my app"],
        [("/", r"/sys/fs/cgroup/a\040b", "cgroup2", "rw")],
        {"a b/my app/cpu.max": "200000 100000"},
    ),
    "v2 without mountinfo": (["0::/app"], [], {"app/cpu.max": "200000 100000"}),
    "v1 without mountinfo": (
        ["4:cpu,cpuacct:/docker/abc"],
        [],
        {"cpu,cpuacct/cpu.cfs_quota_us": "200000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
    ),
}


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def build(root: Path, *, sockets: int = 1, cores: int = 4, threads: int = 1) -> Path:
    """A machine numbered as Linux does: first all cores' first threads. A node is a socket."""
    num_cores = sockets * cores
    files = {
        "proc/cpuinfo": "processor\t: 0\nmodel\t\t: 49\nmodel name\t: Test  CPU 9000\n",
        "proc/meminfo": f"MemTotal:       {256 * GIB // 1024} kB\nMemFree: 1 kB",
        "sys/devices/system/cpu/online": format_cpu_list(range(num_cores * threads)),
    }
    nodes = defaultdict(list)
    for cpu in range(num_cores * threads):
        core, topology = cpu % num_cores, f"sys/devices/system/cpu/cpu{cpu}/topology"
        siblings = format_cpu_list(range(core, num_cores * threads, num_cores))
        files[f"{topology}/thread_siblings_list"] = siblings
        files[f"{topology}/physical_package_id"] = str(core // cores)
        nodes[core // cores].append(cpu)
    for node, cpus in nodes.items():
        files[f"sys/devices/system/node/node{node}/cpulist"] = format_cpu_list(cpus)
    return write(root, files)


def contain(
    root: Path, groups: list[str], mounts: list[tuple[str, ...]], limits: dict[str, str]
) -> Path:
    """Put the process into control groups; `limits` are files below /sys/fs/cgroup."""
    lines = [
        f"{number} 23 0:{number} {top} {point} rw,nosuid shared:9 master:1 - {kind} none {options}"
        for number, (top, point, kind, options) in enumerate(mounts, 30)
    ]
    files = {"proc/self/cgroup": "\n".join(groups)}
    if mounts:
        files["proc/self/mountinfo"] = "\n".join(["22 1 8:1 / / rw - ext4 /dev/sda rw", *lines])
    return write(root, files | {f"sys/fs/cgroup/{name}": text for name, text in limits.items()})


def read(root: Path, affinity: range | tuple[int, ...] = range(4)) -> Machine:
    return read_machine(root, affinity=affinity)


def test_a_server_of_two_sockets(tmp_path: Path) -> None:
    machine = read(build(tmp_path, **HOST), range(128))
    assert machine == Machine(
        cpu="Test CPU 9000",
        num_online=128,
        usable=tuple(range(128)),
        cores=tuple((core, core + 64) for core in range(64)),
        numa_nodes=((*range(32), *range(64, 96)), (*range(32, 64), *range(96, 128))),
        num_sockets=2,
        quota=None,
        memory_bytes=256 * GIB,
    )
    assert (machine.num_cpus, machine.num_cores) == (128, 64)
    assert machine.describe() == [
        "Test CPU 9000: 128 logical CPUs, on 64 physical cores (2 hyper-threads each), 2 sockets",
        "NUMA: 2 nodes (CPUs 0-31,64-95; 32-63,96-127)",
        "memory: 274.9 GB",
    ]


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
def test_a_container_of_two_cpus(tmp_path: Path, container) -> None:
    """Red when a group, one around it, or the mount that shows them is looked for elsewhere."""
    machine = read(contain(build(tmp_path, **HOST), *container), range(128))
    assert (machine.quota, machine.num_cpus, machine.num_cores) == (2.0, 2, 2)
    assert (machine.num_online, len(machine.usable)) == (128, 128)


@pytest.mark.parametrize(
    ("limit", "quota", "planned", "line"),
    [
        ("120000 100000", 1.2, 2, "1.2 CPUs' worth of time; planning for 2 threads"),
        ("150000 100000", 1.5, 2, "1.5 CPUs' worth of time; planning for 2 threads"),
        ("50000 100000", 0.5, 1, "0.5 CPUs' worth of time; planning for 1 thread"),
        ("100000 100000", 1.0, 1, "1 CPU's worth of time; planning for 1 thread"),
        ("9000000 100000", 90.0, 4, "90 CPUs' worth of time; planning for 4 threads"),
        ("max 100000", None, 4, None),
        ("0 100000", None, 4, None),
        ("200000 0", None, 4, None),
        ("-200000 100000", None, 4, None),
        ("200000", None, 4, None),
        ("9" * 30 + " 1", None, 4, None),
    ],
)
def test_quotas_are_rounded_up(tmp_path: Path, limit, quota, planned, line) -> None:
    machine = read(contain(build(tmp_path), ["0::/"], [V2_MOUNT], {"cpu.max": limit}))
    assert (machine.quota, machine.num_cpus, machine.num_cores) == (quota, planned, planned)
    assert [text for text in machine.describe() if "quota" in text] == (
        [f"cgroup quota: {line}"] if line else []
    )


@pytest.mark.parametrize(
    ("limits", "usable"),
    [
        ({"a/cpuset.cpus.effective": "2-3,6-7"}, (2, 3, 6, 7)),
        ({"cpuset.cpus.effective": "2-3,6-7"}, (2, 3, 6, 7)),
        ({"a/cpuset.cpus.effective": "2", "cpuset.cpus.effective": "0-7"}, (2,)),
        ({"cpuset/cpuset.cpus": "1", "cpuset/a/cpuset.cpus": ""}, (1,)),
        ({"cpuset/a/cpuset.effective_cpus": "1", "cpuset/a/cpuset.cpus": "0-5"}, (1,)),
        ({"cpuset.cpus.effective": "8-9"}, tuple(range(8))),
        ({"cpuset.cpus.effective": "zebra"}, tuple(range(8))),
    ],
)
def test_cpusets_narrow_the_affinity(tmp_path: Path, limits, usable) -> None:
    """Red when an empty list of version 1 means no CPU, or a group's does not go before."""
    contain(build(tmp_path, cores=8), ["3:cpuset:/a", "0::/a"], [], limits)
    assert read(tmp_path, range(8)).usable == usable


def test_affinity_is_kept(tmp_path: Path) -> None:
    machine = read(build(tmp_path, **HOST), (64, 3, 0))
    assert (machine.usable, machine.cores) == ((0, 3, 64), ((0, 64), (3,)))
    assert (machine.num_sockets, machine.numa_nodes) == (1, ((0, 3, 64),))
    assert machine.describe()[0] == (
        "Test CPU 9000: 3 of 128 logical CPUs usable, "
        "on 2 physical cores (1 to 2 hyper-threads each), 1 socket"
    )
    with pytest.raises(ValueError, match="affinity must hold a CPU"):
        read(tmp_path, ())


def test_a_cpuset_that_splits_hyper_thread_pairs(tmp_path: Path) -> None:
    """Red when cores are listed with threads that may not be used, or counted from them."""
    contain(build(tmp_path, **HOST), ["0::/"], [], {"cpuset.cpus.effective": "30-33"})
    machine = read(tmp_path, range(128))
    assert machine.cores == ((30,), (31,), (32,), (33,))
    assert machine.numa_nodes == ((30, 31), (32, 33))
    assert (machine.num_sockets, machine.num_cores) == (2, 4)
    assert "on 4 physical cores, 2 sockets" in machine.describe()[0]


def test_the_newer_name_of_a_cores_threads(tmp_path: Path) -> None:
    build(tmp_path, cores=2, threads=2)
    for path in list(tmp_path.rglob("thread_siblings_list")):
        path.rename(path.with_name("core_cpus_list"))
    assert read(tmp_path).cores == ((0, 2), (1, 3))


def test_cores_that_contradict_themselves(tmp_path: Path) -> None:
    """Red when a CPU joins a core that leaves it out, or is on two cores."""
    cpu = "sys/devices/system/cpu/cpu"
    lists = {f"{cpu}0/topology/thread_siblings_list": "1-2"}
    lists |= {f"{cpu}{n}/topology/thread_siblings_list": "1-3" for n in (1, 3)}
    assert read(write(build(tmp_path), lists)).cores == ((0,), (1, 2, 3))


def test_offline_cpus_and_hyper_threading_switched_off(tmp_path: Path) -> None:
    """Red when CPUs that are there but off are counted."""
    build(tmp_path, **HOST)
    online = {"sys/devices/system/cpu/online": "0-63", "sys/devices/system/cpu/possible": "0-127"}
    for cpu in range(64):
        online[f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"] = str(cpu)
    machine = read(write(tmp_path, online), range(64))
    assert (machine.num_online, machine.num_cpus, machine.num_cores) == (64, 64, 64)
    assert machine.describe()[0].endswith("64 logical CPUs, on 64 physical cores, 2 sockets")


def test_numa_nodes_without_usable_cpus(tmp_path: Path) -> None:
    """Red when a node of memory alone counts, or node10 comes before node2."""
    node = "sys/devices/system/node/node"
    lists = {f"{node}0/cpulist": "", f"{node}2/cpulist": "2-3", f"{node}10/cpulist": "0-1"}
    write(build(tmp_path), lists | {f"{node}11/cpulist": "4-7"})
    assert read(tmp_path).numa_nodes == ((2, 3), (0, 1))
    assert read(tmp_path, (2, 3)).numa_nodes == ((2, 3),)
    (tmp_path / f"{node}10/cpulist").unlink()
    assert read(tmp_path).numa_nodes == ((2, 3), (0, 1)), "CPUs on no node that is known"


@pytest.mark.parametrize(
    ("limits", "memory_bytes"),
    [
        ({"memory.max": str(3 * GIB)}, 3 * GIB),
        ({"memory.max": str(3 * GIB), "a/memory.max": "max"}, 3 * GIB),
        ({"memory.max": str(999 * GIB)}, 256 * GIB),
        ({"memory.max": "0"}, 256 * GIB),
        ({"memory/memory.limit_in_bytes": "9223372036854771712"}, 256 * GIB),
        ({"memory/a/memory.limit_in_bytes": str(GIB)}, GIB),
    ],
)
def test_memory_is_the_least_of_the_limits(tmp_path: Path, limits, memory_bytes) -> None:
    contain(build(tmp_path), ["9:memory:/a", "0::/a"], [], limits)
    assert read(tmp_path).memory_bytes == memory_bytes


def test_no_limit_is_no_size(tmp_path: Path) -> None:
    """Red when version 1's largest number passes for memory where nothing else is known."""
    limit = {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712"}
    assert read(write(tmp_path, limit)).memory_bytes == 0


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("Hardware\t: BCM2711\nModel\t: Raspberry Pi 4", "Raspberry Pi 4"),
        ("processor\t: 0\nHardware\t: Amlogic", "Amlogic"),
        ("system type\t: MIPS Malta\ncpu model\t: MIPS 24Kc V0.0", "MIPS 24Kc V0.0"),
        ("model name\t:\nprocessor\t: 0\nCPU part\t: 0xd03", "aarch64"),
    ],
)
def test_names_of_other_processors(tmp_path: Path, monkeypatch, cpuinfo, name) -> None:
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert read(write(tmp_path, {"proc/cpuinfo": cpuinfo})).cpu == name


@pytest.mark.parametrize(
    ("vendor", "flags", "expected"),
    [
        ("AuthenticAMD", "avx512f avx512_bf16", True),
        ("GenuineIntel", "avx512f avx512_bf16 amx_bf16 amx_tile", True),
        ("GenuineIntel", "avx512f avx512_bf16", False),
        ("AuthenticAMD", "avx2 fma", False),
    ],
)
def test_processors_that_gain_by_bfloat16(tmp_path: Path, vendor, flags, expected) -> None:
    """Red if the flag alone counts: it halves the speed of Intel's processors without AMX."""
    cpuinfo = f"vendor_id\t: {vendor}\nmodel name\t: Test\nflags\t\t: fpu {flags}\n"
    assert multiplies_bfloat16(write(tmp_path, {"proc/cpuinfo": cpuinfo})) is expected
    assert multiplies_bfloat16(tmp_path / "nothing") is False


def test_one_bad_byte_spoils_no_file(tmp_path: Path) -> None:
    build(tmp_path)
    (tmp_path / "proc/cpuinfo").write_bytes(b"vendor_id: \xff\nmodel name: Known")
    assert read(tmp_path).cpu == "Known"


def test_big_and_little_cores(tmp_path: Path, monkeypatch) -> None:
    """Red when -1, "unknown", counts as a socket."""
    monkeypatch.setattr(platform, "processor", lambda: "")
    build(tmp_path, cores=6)
    cpu = "sys/devices/system/cpu/cpu"
    write(tmp_path, {f"{cpu}{n}/topology/physical_package_id": "-1" for n in range(1, 6)})
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nBogoMIPS\t: 48.00\n")
    shutil.rmtree(tmp_path / "sys/devices/system/node")
    machine = read(tmp_path, range(6))
    assert (machine.num_cores, machine.num_sockets, len(machine.numa_nodes)) == (6, 1, 1)
    assert machine.cpu == platform.machine()


def test_a_machine_that_says_nothing(tmp_path: Path, monkeypatch) -> None:
    for name in ("processor", "machine"):
        monkeypatch.setattr(platform, name, lambda: "")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    machine = read(tmp_path, (5, 7))
    assert machine == Machine("CPU", 2, (5, 7), ((5,), (7,)), ((5, 7),), 1, None, 0)
    assert machine.describe() == ["CPU: 2 logical CPUs, on 2 physical cores, 1 socket"]
    assert read(tmp_path, (5,)).describe() == ["CPU: 1 logical CPU, on 1 physical core, 1 socket"]
    monkeypatch.delattr(os, "sched_getaffinity")
    assert read_machine(tmp_path).usable == (0,)


def test_a_small_container_in_words(tmp_path: Path) -> None:
    limits = {"cpu.max": "20000 100000", "memory.max": "512000000", "cpuset.cpus.effective": "0,4"}
    contain(build(tmp_path, threads=2), ["0::/"], [V2_MOUNT], limits)
    assert read(tmp_path, range(8)).describe() == [
        "Test CPU 9000: 2 of 8 logical CPUs usable, on 1 physical core (2 hyper-threads), 1 socket",
        "cgroup quota: 0.2 CPUs' worth of time; planning for 1 thread",
        "memory: 512.0 MB",
    ]


# A machine with every file that is read; each may hold anything.
CPU0, V2, V1 = "sys/devices/system/cpu/cpu0/topology", "sys/fs/cgroup/a", "sys/fs/cgroup/cpu/a"
EVERYTHING = {
    "proc/self/cgroup": "5:cpuset:/a\n4:cpu,cpuacct:/a\n3:memory:/a\n0::/a",
    "proc/self/mountinfo": "1 2 0:3 / /sys/fs/cgroup rw shared:4 - cgroup2 none rw\n"
    "5 6 0:7 / /sys/fs/cgroup/cpu rw - cgroup none rw,cpu,cpuacct",
    **{f"{V2}/cpu.max": "9 9", f"{V2}/memory.max": "9", f"{V2}/cpuset.cpus.effective": "0-1"},
    **{f"{V1}/cpu.cfs_quota_us": "9", f"{V1}/cpu.cfs_period_us": "9"},
    "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9",
    "sys/fs/cgroup/cpuset/a/cpuset.cpus": "0-1",
    f"{CPU0}/core_cpus_list": "0,2",
}
FILES = [
    *("proc/cpuinfo", "proc/meminfo", "sys/devices/system/cpu/online"),
    *(f"{CPU0}/thread_siblings_list", f"{CPU0}/physical_package_id"),
    *("sys/devices/system/node/node0/cpulist", *EVERYTHING),
]
JUNK = st.one_of(
    st.none(),  # a folder, which cannot be read
    st.binary(max_size=40),
    st.text("0123456789-,: \n/.max\\", max_size=20).map(str.encode),
    st.sampled_from([b"", b"0", b"-1", b"0-65535", b"0-4000000000", b"1" * 5000, b"1 0", b"9 9"]),
    st.sampled_from([b"0::/../..", b"4:cpu:" + b"/a" * 300, b"::::", b"MemTotal: -1 kB"]),
    st.sampled_from([rb"1 2 3 /\000 /\000 rw - cgroup2 x y", b"1 2 3 /a //.. rw - cgroup  rw,cpu"]),
)


@settings(max_examples=300, deadline=None)
@given(
    changes=st.dictionaries(st.sampled_from(FILES), JUNK, max_size=6),
    affinity=st.sets(st.integers(0, 5), min_size=1),
)
@example(changes={"proc/self/mountinfo": b"1 2 3 - cgroup2 none rw"}, affinity={0})
@example(changes={"proc/self/cgroup": b"0::/\0"}, affinity={0})
@example(changes={"proc/cpuinfo": b"model name: \xff"}, affinity={0})
def test_junk_is_survived(changes, affinity) -> None:
    """Red when a file's content, whatever it is, stops the program or makes nonsense."""
    with tempfile.TemporaryDirectory() as folder:
        root = write(build(Path(folder), cores=2, threads=2), EVERYTHING)
        for name, content in changes.items():
            path = root / name
            path.unlink()
            path.mkdir() if content is None else path.write_bytes(content)
        machine = read_machine(root, affinity=affinity)
    assert set(machine.usable) <= affinity
    assert 1 <= machine.num_cpus <= len(machine.usable) <= machine.num_online
    assert 1 <= machine.num_cores <= len(machine.cores)
    assert 1 <= machine.num_sockets <= len(machine.usable)
    for blocks in (machine.cores, machine.numa_nodes):
        assert all(blocks)
        assert sorted(cpu for block in blocks for cpu in block) == list(machine.usable)
    assert machine.quota is None or machine.quota > 0
    assert machine.memory_bytes >= 0
    assert machine.cpu
    assert not any("\n" in line for line in machine.describe())


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0-3,8,10-11\n", (0, 1, 2, 3, 8, 10, 11)),
        ("0-6:2", (0, 2, 4, 6)),
        ("8,0-1,1", (0, 1, 8)),
        ("\n", ()),
        ("", ()),
    ],
)
def test_lists_of_cpus(text, cpus) -> None:
    assert parse_cpu_list(text) == cpus


@pytest.mark.parametrize(
    "text",
    ["3-0", "0-6:0", "1,", "-1", "0-", "5:2", "a", "\u00b2", "0-65536", "0-4000000000", "0 1"],
)
def test_junk_is_no_list(text) -> None:
    """Red when junk gives CPUs, or four thousand million of them are counted out."""
    with pytest.raises(ValueError, match=r"A CPU list must be rising ranges .* write it like"):
        parse_cpu_list(text)


def test_numbers_of_no_cpu_are_not_written() -> None:
    for cpu in (-1, MAX_CPUS):
        with pytest.raises(ValueError, match=f"Received {cpu}"):
            format_cpu_list((0, cpu))
    assert format_cpu_list((8, 3, 1, 2, 0, 0)) == "0-3,8"


@given(st.sets(st.one_of(st.integers(0, 40), st.integers(0, MAX_CPUS - 1))))
def test_lists_are_read_as_they_are_written(cpus) -> None:
    text = format_cpu_list(cpus)
    assert parse_cpu_list(text) == tuple(sorted(cpus))
    assert len(text.split(",")) == max(len({cpu for cpu in cpus if cpu - 1 not in cpus}), 1)


def test_this_machine(monkeypatch) -> None:
    """Against the kernel and joblib, which knows no cgroup but the outermost."""
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    machine = read_machine()
    assert set(machine.usable) <= os.sched_getaffinity(0)
    assert machine.num_cpus <= joblib.cpu_count()
    if machine.quota is None:
        assert machine.num_cpus == joblib.cpu_count()
    assert machine.memory_bytes <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 1.01


@pytest.mark.skipif(shutil.which("lscpu") is None, reason="needs lscpu")
def test_this_machine_against_lscpu() -> None:
    machine = read_machine()
    text = subprocess.check_output(["lscpu", "-p=CPU,CORE,SOCKET,NODE"], text=True)
    rows = [line.split(",") for line in text.splitlines() if not line.startswith("#")]
    usable = [row for row in rows if int(row[0]) in machine.usable]
    counts = (len(machine.cores), machine.num_sockets, len(machine.numa_nodes))
    assert counts == tuple(len({row[column] for row in usable}) for column in (1, 2, 3))
    assert machine.num_online == len(rows)


def test_workers_follow_the_affinity() -> None:
    """Red when `available_cpus` counts the machine's processors."""
    cpu = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, [{cpu}]); from preprocess.system.machine import "
        "available_cpus; print(available_cpus())"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "1\n"


def test_workers_follow_the_quota(tmp_path: Path, monkeypatch) -> None:
    """Red when `available_cpus` counts a container's host: 64 workers on 2 CPUs."""
    granted = read(contain(build(tmp_path), ["0::/"], [V2_MOUNT], {"cpu.max": "200000 100000"}))
    monkeypatch.setattr(machine_module, "read_machine", lambda: granted)
    assert machine_module.available_cpus() == 2
