"""The launcher: who gets which place, what SSH is given, and how all end when one does.

Training by it is compared with one process in training/test_distribution.py.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from common.errors import InputError, UserError
from experiments import launch
from tests import processes
from tests.processes import wait_until

REAL_PYTHON = sys.executable
JOB = ("experiments.ucf11", "--out", "run")
# Stands for the Python that runs a job: prints where it is, and behaves as DEED says.
PYTHON = f"""#!{sys.executable} -S
import json, os, sys, time
place = json.loads(os.environ["TF_CONFIG"])
index = place["task"]["index"]
print(json.dumps([sys.argv[1:], place["cluster"], index, os.getcwd(), os.getpid()]), flush=True)
deed = os.environ.get("DEED")
if deed == "error":
    print("error: --maxlen must be greater than 0.", file=sys.stderr)
    sys.exit(2)
if deed == "loss" and index == 0:
    print("error: Another worker of this job has ended, or cannot be reached.", file=sys.stderr)
    sys.exit(2)
if deed in ("death", "loss") and index == 1:
    time.sleep(0.2)
    os.kill(os.getpid(), 9)
if deed:
    time.sleep(3600)
"""
# Stands for the client: runs the command here as sshd does, by the shell of the user.
SSH = f"""#!{sys.executable} -S
import os, sys
with open("hosts", "a") as file:
    print(*sys.argv[1:-1], file=file)
os.chdir("/")
os.execv("/bin/sh", ["sh", "-c", sys.argv[-1]])
"""


@pytest.fixture
def python(tmp_path, monkeypatch) -> Path:
    """The stand-in for Python, in a folder whose name a shell would take apart."""
    folder = tmp_path / "it's $HOME"
    folder.mkdir()
    for name, text in (("python", PYTHON), ("ssh", SSH)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    return folder / "python"


def places(output: str) -> list[list]:
    """What the stand-ins printed, by their index."""
    found = [json.loads(line[line.index("[[") :]) for line in output.splitlines()]
    return sorted(found, key=lambda place: place[2])


def test_ssh_runs_the_same_words(python, capfd) -> None:
    """Red if a shell there takes a word apart, or a worker has another's place."""
    odd = ("--set", "a b", "--title", 'it\'s "$HOME"; `id` *', "", "ä\n")
    arguments = launch.Arguments(job=(*JOB, *odd), hosts=("127.0.0.1", "me@::1"), processes=2)
    assert launch.run(arguments) == 0
    output = capfd.readouterr().out
    found = places(output)
    ports = [int(address.rpartition(":")[2]) for address in found[0][1]["worker"]]
    assert found[0][1]["worker"] == [f"127.0.0.1:{p}" for p in ports[:2]] + [
        f"::1:{p}" for p in ports[2:]
    ]
    assert ports[:2] == ports[2:] == [ports[0], ports[0] + 1]
    for index, (args, cluster, task, folder, _) in enumerate(found):
        assert args == ["-m", *JOB, *odd, "--distribute", "workers"]
        assert (task, cluster, folder) == (index, found[0][1], str(python.parent))
    calls = sorted((python.parent / "hosts").read_text().splitlines())
    options = "-tt -o BatchMode=yes -o LogLevel=ERROR --"
    assert calls == [f"{options} 127.0.0.1"] * 2 + [f"{options} me@::1"] * 2
    # The first worker speaks for all; the others say who they are.
    assert sum(line.startswith("[[") for line in output.splitlines()) == 1
    assert "worker 2 of 4 (127.0.0.1:" in output


@pytest.mark.parametrize("deed", ["death", "loss"])
def test_a_worker_that_dies_ends_the_others_with_a_line(python, monkeypatch, capfd, deed) -> None:
    """Red if the others go on, or their own errors hide which one it was."""
    monkeypatch.setenv("DEED", deed)
    # The one that dies may be slow to do so.
    monkeypatch.setattr(launch, "_CAUSE_SECONDS", processes.PATIENCE_SECONDS)
    with pytest.raises(UserError, match=r"^Worker 2 of 2 .* SIGKILL; .*--resume$") as caught:
        launch.run(launch.Arguments(job=JOB, processes=2))
    assert "\n" not in str(caught.value)
    printed = capfd.readouterr()
    assert not printed.err
    assert not any(processes.is_alive(place[4]) for place in places(printed.out))


def test_an_error_of_all_is_shown_once(python, monkeypatch, capfd) -> None:
    monkeypatch.setenv("DEED", "error")
    with pytest.raises(UserError, match=r"^--maxlen must be greater than 0\.$"):
        launch.run(launch.Arguments(job=JOB, processes=2))
    assert not capfd.readouterr().err


def test_ctrl_c_ends_all(python, monkeypatch) -> None:
    """Red if workers are left behind, or the line that resumes is a worker's."""
    monkeypatch.setenv("DEED", "nothing")
    monkeypatch.setattr(sys, "executable", REAL_PYTHON)
    program = (
        f"import sys; sys.executable = {str(python)!r}; from experiments import launch; "
        "sys.exit(launch.main())"
    )
    with processes.start(["-c", program, "--processes", 2, "--", *JOB]) as launcher:
        assert launcher.stdout is not None
        found = places(launcher.stdout.readline() + launcher.stdout.readline())
        launcher.send_signal(signal.SIGINT)
        _, errors = launcher.communicate(timeout=processes.PATIENCE_SECONDS)
    assert launcher.returncode == 130
    assert errors.strip() == (
        "Interrupted. Continue with: python -m experiments.launch --processes 2 -- "
        "experiments.ucf11 --out run --resume"
    )
    wait_until(lambda: not any(processes.is_alive(place[4]) for place in found), "their end")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"job": ()}, "The job after -- must be experiments.ucf11 or experiments.ucf101"),
        ({"job": ("experiments.ucf1", "--out", "x")}, "Did you mean experiments.ucf11"),
        ({"job": ("experiments.ucf11", "--tt")}, "needs --out"),
        ({"job": JOB}, "--hosts of other machines, or --processes 2"),
        ({"job": JOB, "processes": 0}, "--processes must be 1 or more. Received 0"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message) -> None:
    with pytest.raises(InputError, match=message):
        launch.run(launch.Arguments(**arguments))


def slurm(nodes: str, tasks: str, rank: int, place: tuple[int, int]) -> dict[str, str]:
    """Variables that srun sets for a process."""
    return {
        "SLURM_JOB_ID": "4711",
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_STEP_TASKS_PER_NODE": tasks,
        "SLURM_PROCID": str(rank),
        "SLURM_NODEID": str(place[0]),
        "SLURM_LOCALID": str(place[1]),
    }


@pytest.mark.parametrize(
    ("nodes", "tasks", "ranks"),
    [
        ("login", "2", [(0, 0), (0, 1)]),
        ("n[1-2]", "1(x2)", [(0, 0), (1, 0)]),
        (
            "m5,n[03,08-10]",
            "2(x2),1,2(x2)",
            [(n, i) for n in range(5) for i in range(1 + (n != 2))],
        ),
    ],
)
def test_slurm_gives_the_places(monkeypatch, nodes, tasks, ranks) -> None:
    """Red if TensorFlow's own reader of these variables finds other workers."""
    import tensorflow as tf

    for rank, place in enumerate(ranks):
        environment = slurm(nodes, tasks, rank, place)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("SLURM_STEP_NUM_TASKS", str(len(ranks)))
        theirs = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=9000, gpus_per_node=8, gpus_per_task=1, auto_set_gpu=False
        )
        cluster = theirs.cluster_spec().as_dict()
        ours = launch.slurm_config(environment, port=9000)
        assert ours["cluster"] == cluster
        assert ours["task"] == {"type": "worker", "index": theirs.task_id}
    # Without --port all agree on one; SLURM may run two steps or jobs on a machine.
    chosen = [
        launch.slurm_config(slurm(nodes, tasks, 0, ranks[0]) | {"SLURM_STEP_ID": str(step)})
        for step in (0, 0, 1)
    ]
    assert chosen[0] == chosen[1] != chosen[2]


def test_brackets_may_be_several() -> None:
    """What TensorFlow does not read: racks."""
    assert launch.expand_hosts("r[1-2]n[09-10],x") == ["r1n09", "r1n10", "r2n09", "r2n10", "x"]


def test_slurm_is_asked_for_several_processes_in_a_row() -> None:
    with pytest.raises(InputError, match="--ntasks 2"):
        launch.slurm_config(slurm("n1", "1", 0, (0, 0)))
    with pytest.raises(InputError, match="--distribution=block"):
        launch.slurm_config(slurm("n[1-2]", "2(x2)", 1, (1, 0)))


def test_free_ports_are_free_and_in_a_row(monkeypatch) -> None:
    """Red if a port at which somebody listens is given away."""
    import socket

    first = launch.free_ports(3)
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", first + 1))
        monkeypatch.setattr(launch.random, "sample", lambda *_: [first, first + 2])
        assert launch.free_ports(2) == first + 2
