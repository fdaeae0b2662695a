"""Fork server for Python processes, which then need not import TensorFlow again.

Importing TensorFlow and Keras takes seconds, and the suite starts hundreds of processes. A server
imports them once, before any of their threads runs, and forks. A forked process has an
environment, a folder, streams and signals of its own, and ends with the exit handlers and the exit
code of a Python process. Our own modules are not imported before the fork.

`python tests/fork_server.py SOCKET` is the server. It lives as long as its standard input is open.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakSet

_PRELOADED = (
    "tyro",
    "hdf5plugin",
    "tensorflow",
    "keras",
    "av",
    "cv2",
    "h5py",
    "sklearn.model_selection",
    "matplotlib.backends.backend_agg",
    "jinja2",
    "pyarrow.parquet",
    "nicegui",
)
_MESSAGE_BYTES = 1 << 20
_MAX_FDS = 16
_starting = threading.Lock()
_connect = socket.socket.connect  # a test may forbid the network


class ForkedProcess(subprocess.Popen):
    """`subprocess.Popen([sys.executable, ...])` that is forked by the server instead of executed.

    Takes `-m MODULE`, `-c CODE` or a script after the interpreter, `cwd`, `env`, `pass_fds`,
    `start_new_session`, and the streams and text options of Popen.
    """

    started: ClassVar[WeakSet[ForkedProcess]] = WeakSet()

    def _execute_child(self, *values: Any) -> None:
        names = self._parameters()
        given = dict(zip(names, values, strict=True))
        streams = [given["p2cread"], given["c2pwrite"], given["errwrite"]]
        environment: Mapping[str, str] = os.environ if given["env"] is None else given["env"]
        request = {
            "args": [os.fspath(arg) for arg in given["args"][1:]],
            "cwd": os.fspath(given["cwd"] or os.getcwd()),
            "env": {os.fspath(name): os.fspath(value) for name, value in environment.items()},
            "session": given["start_new_session"],
            "numbers": [0, 1, 2, *given["pass_fds"]],
        }
        self._server = socket.socket(socket.AF_UNIX)
        with _starting:
            _connect(self._server, _server_path())
        fds = [own if fd == -1 else fd for own, fd in enumerate(streams)] + [*given["pass_fds"]]
        socket.send_fds(self._server, [json.dumps(request).encode()], fds)
        self._server.shutdown(socket.SHUT_WR)
        self.pid = int(self._line())
        self._child_created = True
        self.started.add(self)
        pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(given[name] for name in pipes))

    @staticmethod
    def _parameters() -> list[str]:
        # The parameters of this private method differ between versions of Python.
        code = subprocess.Popen._execute_child.__code__
        return list(code.co_varnames[1 : code.co_argcount])

    def _line(self) -> bytes:
        """Read the server's next line: first the process id, then the exit status."""
        line = b""
        while not line.endswith(b"\n"):
            read = self._server.recv(1)
            if not read:
                raise RuntimeError("The fork server has ended.")
            line += read
        return line

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        return self._await_status(0)

    def _wait(self, timeout: float | None) -> int:
        if self._await_status(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self.returncode

    def _await_status(self, timeout: float | None) -> int | None:
        with self._waitpid_lock:
            if self.returncode is None and select.select([self._server], [], [], timeout)[0]:
                self.returncode = int(self._line())
                self._server.close()
        return self.returncode


@cache
def _server_path() -> str:
    """Start the server of this process. Returns the path of its socket."""
    folder = tempfile.mkdtemp(prefix="fork-server-")
    path = os.path.join(folder, "socket")
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    server = subprocess.Popen(
        [sys.executable, __file__, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=quiet,
        start_new_session=True,  # Ctrl-C goes to the processes of its children, not to it
    )
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n", "The fork server did not start."
    _server_path.process = server  # type: ignore[attr-defined]  # its standard input stays open
    return path


def _serve(path: str) -> dict[str, Any]:
    """Fork a process for each connection. Returns, in that process, the request it is to run."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes forked here
    os.write(1, b"ready\n")
    while True:
        ready, _, _ = select.select([listener, 0], [], [])
        if 0 in ready:  # the tests have ended
            os.unlink(path)
            Path(path).parent.rmdir()
            sys.exit(0)
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            return _keep(connection)
        connection.close()


def _keep(connection: socket.socket) -> dict[str, Any]:
    """Fork the process, and send its exit status at its end. Returns in the process only."""
    message, fds, _, _ = socket.recv_fds(connection, _MESSAGE_BYTES, _MAX_FDS)
    while part := connection.recv(_MESSAGE_BYTES):
        message += part
    request = json.loads(message)
    child = os.fork()
    if child == 0:
        connection.close()
        if request["session"]:
            os.setsid()
        # First out of the way of the numbers that they are to have.
        first = max(request["numbers"]) + 1
        spare = [fcntl.fcntl(fd, fcntl.F_DUPFD, first) for fd in fds]
        for fd in fds:
            os.close(fd)
        for number, fd in zip(request["numbers"], spare, strict=True):
            os.dup2(fd, number)
            os.close(fd)
        return request
    for fd in fds:
        os.close(fd)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.setsid()  # a signal to the group of the process must not reach this one
    connection.sendall(f"{child}\n".encode())
    _, status = os.waitpid(child, 0)
    with suppress(BrokenPipeError):
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(request: dict[str, Any]) -> None:
    """Run a module, code or a script as `python -m`, `python -c` and `python` do."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    kind, *args = request["args"]
    home = {"-m": request["cwd"], "-c": ""}.get(kind, os.path.dirname(os.path.abspath(kind)))
    paths = [path for path in request["env"].get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [home, *paths, *sys.path[1:]]
    if kind == "-m":
        sys.argv[:] = args
        runpy.run_module(args[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv[:] = ["-c", *args[1:]]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(args[0], "<string>", "exec"), main.__dict__)  # noqa: S102
    else:
        sys.argv[:] = [kind, *args]
        runpy.run_path(kind, run_name="__main__")


def _end(code: object) -> None:
    """End the process as Python does, with its exit handlers, but do not take its modules apart.

    That would copy every page that the process shares with the server.
    """
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        code = 120  # as Python's own
    sys.stderr.flush()
    os._exit((code or 0) & 0xFF)


if __name__ == "__main__":
    # Whoever started the server may have held signals back for a moment.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for name in _PRELOADED:
        __import__(name)
    gc.freeze()  # a collection in a forked process would copy every page that it shares
    request = _serve(sys.argv[1])  # returns in a forked process only
    # Any other exception ends it as always: by a traceback, or by the signal of KeyboardInterrupt.
    try:
        _become(request)
    except SystemExit as end:
        _end(end.code)
    _end(None)
