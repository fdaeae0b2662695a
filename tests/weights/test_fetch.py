"""Downloads from a server on this machine that breaks off, lies, or has something else."""

import dataclasses
import gzip
import hashlib
import io
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests

from tests.processes import PATIENCE_SECONDS, wait_until
from weights import ENTRIES, Entry, WeightsError
from weights.alexnet import ALEXNET_SHAPES
from weights.fetch import CHUNK_BYTES, Partial, _stay_encrypted, fetch
from weights.registry import find_entry, verify

ROOT = Path(__file__).resolve().parents[2]
SHAPES = {"fc6/kernel": (300, 381), "fc6/bias": (381,)}  # their file ends soon after a piece
RNG = np.random.default_rng(0)


def npy(dtype="float32"):
    layers = {"fc6": [RNG.standard_normal(shape).astype(dtype) for shape in SHAPES.values()]}
    stream = io.BytesIO()
    np.save(stream, np.array(layers, dtype=object))
    return stream.getvalue()


CONTENT = npy()
HALF = len(CONTENT) // 2
KEPT = HALF - HALF % CHUNK_BYTES  # of a half: whole pieces
BY_CONTENT = Entry(
    name="small",
    file_name="small.npy",
    url="",
    licence="",
    num_parameters=114_681,
    max_bytes=600_000,
    shapes=SHAPES,
)
BY_CHECKSUM = Entry(
    name="small",
    file_name="small.bin",
    url="",
    licence="",
    num_parameters=114_681,
    max_bytes=600_000,
    checksum=f"sha256:{hashlib.sha256(CONTENT).hexdigest()}",
)


class Server(ThreadingHTTPServer):
    """Serves one file; `plan` holds what to do for the first requests, instead."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.etag = '"one"'
        self.plan = []
        self.ranges = []  # what was asked for

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/small.npy"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.ranges.append(wanted)
        if server.plan:
            server.plan.pop(0)(self)
        elif wanted and self.headers.get("If-Range", server.etag) == server.etag:
            self.send_part(int(wanted.removeprefix("bytes=").removesuffix("-")))
        else:
            self.send_whole()

    def start(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def send_whole(self, *, announced=None, stop=None):
        content = self.server.content
        length = len(content) if announced is None else announced
        self.start(200, Content_Length=length, ETag=self.server.etag)
        self.wfile.write(content[:stop])

    def send_part(self, start, *, etag=None, claimed_start=None):
        content = self.server.content
        content_range = (
            f"bytes {start if claimed_start is None else claimed_start}-{len(content) - 1}"
        )
        self.start(
            206,
            Content_Length=len(content) - start,
            Content_Range=f"{content_range}/{len(content)}",
            ETag=etag or self.server.etag,
        )
        self.wfile.write(content[start:])


def broken_off(handler):
    handler.send_whole(stop=HALF)


def answering(status):
    return lambda handler: handler.start(status, Content_Length=0)


def redirecting(target):
    return lambda handler: handler.start(302, Location=target, Content_Length=0)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("weights.fetch.RETRY_SECONDS", 0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(params=[BY_CONTENT, BY_CHECKSUM], ids=["by content", "by checksum"])
def entry(request):
    return request.param


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def get(server, entry, folder, **options):
    """Fetch; the file must be whole and alone."""
    path = fetch(entry, folder, url=server.url, progress=False, **options)
    assert path == folder / entry.file_name
    assert path.read_bytes() == CONTENT
    assert names(folder) == [entry.file_name]


def refuse(server, entry, folder, message, *, keeps=(), **options):
    """Fetch; it must fail, and no file must get the final name."""
    with pytest.raises(WeightsError, match=message) as caught:
        fetch(entry, folder, url=server.url, progress=False, **options)
    assert names(folder) == list(keeps)
    return str(caught.value)


def part_of(entry):
    return [f".{entry.file_name}.part", f".{entry.file_name}.part.json"]


def test_a_file_is_fetched(server, entry, tmp_path):
    get(server, entry, tmp_path)
    assert server.ranges == [None]


def test_the_folder_is_made(server, entry, tmp_path):
    get(server, entry, tmp_path / "a" / "b")


def test_a_connection_that_breaks_off_goes_on(server, entry, tmp_path):
    """Red if the second request asks for all again, or the halves are joined wrongly."""
    server.plan = [broken_off]
    get(server, entry, tmp_path)
    assert server.ranges == [None, f"bytes={KEPT}-"]


def test_another_call_goes_on(server, entry, tmp_path):
    server.plan = [broken_off, answering(503)]
    message = f"Run again to go on from byte {KEPT:,}"
    refuse(server, entry, tmp_path, message, keeps=part_of(entry), attempts=1)
    get(server, entry, tmp_path)
    assert server.ranges == [None, *[f"bytes={KEPT}-"] * 2]


def test_a_part_that_lacks_only_its_name(server, entry, tmp_path):
    """Stopped before it was verified: nothing is fetched again."""
    server.plan = [broken_off, answering(503)]
    refuse(server, entry, tmp_path, "Run again", keeps=part_of(entry), attempts=1)
    (tmp_path / part_of(entry)[0]).write_bytes(CONTENT)
    get(server, entry, tmp_path)
    assert len(server.ranges) == 2


def test_a_part_from_another_address_is_dropped(server, entry, tmp_path):
    server.plan = [broken_off, answering(503)]
    refuse(server, entry, tmp_path, "Run again", keeps=part_of(entry), attempts=1)
    path = fetch(entry, tmp_path, url=f"{server.url}?other", progress=False)
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={KEPT}-", None]


@pytest.mark.parametrize("metadata", ["", "[]", '{"url": 1}', "\udcff"])
def test_a_part_of_which_nothing_is_known_is_dropped(server, entry, tmp_path, metadata):
    part, sayings = (tmp_path / name for name in part_of(entry))
    part.write_bytes(b"x" * 100)
    sayings.write_text(metadata, errors="surrogateescape")
    get(server, entry, tmp_path)
    assert server.ranges == [None]


def test_a_server_that_ignores_ranges(server, entry, tmp_path):
    """It sends the whole with 200: red if that is put behind the half."""
    server.plan = [broken_off, Handler.send_whole]
    get(server, entry, tmp_path)
    assert len(server.ranges) == 2


def test_a_file_that_changed_between_attempts(server, entry, tmp_path):
    """Another ETag: red if the new file's end is put behind the old one's beginning."""

    def break_off_the_old_one(handler):
        server.content = bytes(len(CONTENT))
        broken_off(handler)
        server.content, server.etag = CONTENT, '"two"'

    server.plan = [break_off_the_old_one]
    get(server, entry, tmp_path)
    assert len(server.ranges) == 2  # asked for with If-Range, the whole comes at once


def test_a_weak_tag_is_not_trusted(server, entry, tmp_path):
    """It stands for files that are alike, not the same byte for byte."""
    server.etag = 'W/"one"'
    server.plan = [broken_off]
    get(server, entry, tmp_path)
    assert server.ranges == [None, None]


@pytest.mark.parametrize("stop", [None, HALF])
def test_a_server_that_compresses_unasked(server, entry, tmp_path, stop):
    """Its length and its ranges are of other bytes than those that are kept."""

    def send(handler):
        content = gzip.compress(CONTENT)
        encoded = {"Content_Encoding": "gzip", "ETag": server.etag}
        handler.start(200, Content_Length=len(content), **encoded)
        handler.wfile.write(content[:stop])

    server.plan = [send]
    get(server, entry, tmp_path)
    assert server.ranges == [None] * (2 if stop else 1)


PARTS = {
    "another version's": lambda handler: handler.send_part(KEPT, etag='"other"'),
    "another part": lambda handler: handler.send_part(0),
    "a part that is said to be another": lambda handler: handler.send_part(KEPT, claimed_start=1),
    "no part that it knows": answering(416),
    "an overload": answering(503),
}


@pytest.mark.parametrize("case", PARTS)
def test_a_wrong_part_is_not_joined(server, entry, tmp_path, case):
    server.plan = [broken_off, PARTS[case]]
    get(server, entry, tmp_path)
    again = f"bytes={KEPT}-" if case == "an overload" else None
    assert server.ranges == [None, f"bytes={KEPT}-", again]


def test_a_server_that_always_breaks_off(server, entry, tmp_path):
    server.plan = [broken_off] * 9
    message = r"gave nothing new in 3 attempts: .*Connection broken"
    refuse(server, entry, tmp_path, message, keeps=part_of(entry))


def test_progress_gives_new_attempts(server, entry, tmp_path):
    """A weak line: four breaks, but each brings some. Red if breaks are simply counted."""

    def bring_some(handler):
        wanted = server.ranges[-1]
        start = int(wanted[6:-1]) if wanted else 0
        content = server.content
        server.content = content[: start + 100_000]
        length = {"Content_Length": len(content) - start, "ETag": server.etag}
        if wanted:
            length["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.start(206 if wanted else 200, **length)
        handler.wfile.write(server.content[start:])
        server.content = content

    server.plan = [bring_some] * 4
    get(server, entry, tmp_path, attempts=2)


def test_a_length_that_is_too_long(server, entry, tmp_path):
    server.plan = [lambda handler: handler.send_whole(announced=len(CONTENT) + 10)] * 4
    refuse(
        server,
        entry,
        tmp_path,
        r"nothing new in 3 attempts: .*Connection broken",
        keeps=part_of(entry),
    )


def test_a_length_that_is_too_short(server, entry, tmp_path):
    """All that was announced came; only a look at the content tells."""
    server.plan = [lambda handler: handler.send_whole(announced=len(CONTENT) - 10)]
    refuse(server, entry, tmp_path, "does not give .* and what came is removed")


def test_no_length_at_all(server, entry, tmp_path):
    def send(handler):
        handler.start(200)
        handler.wfile.write(CONTENT)

    server.plan = [send]
    get(server, entry, tmp_path)


WRONG_FILES = {
    "a page": b"<html>moved</html>" * 40_000,
    "another type": npy("float64"),
    "one bit": CONTENT[:-1000] + bytes([CONTENT[-1000] ^ 64]) + CONTENT[-999:],
    "nothing": b"",
    "short": CONTENT[:1000],
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_a_wrong_file_is_removed(server, tmp_path, case):
    server.content = WRONG_FILES[case]
    message = "small.bin has at most|does not give small.bin, and what came is removed"
    if case == "nothing":
        message += "|nothing new"
    refuse(server, BY_CHECKSUM, tmp_path, message)


@pytest.mark.parametrize("case", ["a page", "another type", "short"])
def test_a_wrong_content_is_removed(server, tmp_path, case):
    server.content = WRONG_FILES[case]
    refuse(server, BY_CONTENT, tmp_path, "has at most|does not give small.npy")


def test_a_hostile_file_is_removed(server, tmp_path):
    """It is as large as the right one, and asks to be run."""
    from tests.weights.pickles import file

    server.content = file(b"cos\nsystem\n") + bytes(500_000)
    refuse(server, BY_CONTENT, tmp_path, "asks for os.system")


def test_a_stream_without_end(server, entry, tmp_path):
    """Red if it is written until the disk is full."""

    sent = []

    def send(handler):
        handler.start(200)
        try:
            while True:
                sent.append(handler.wfile.write(bytes(100_000)))
        except OSError:
            pass

    server.plan = [send]
    refuse(server, entry, tmp_path, "has at most 600,000 bytes.* sends more")
    assert sum(sent) < 50e6  # what lies in the sockets' buffers included


def test_an_announced_length_that_is_too_large(server, entry, tmp_path):
    server.plan = [lambda handler: handler.start(200, Content_Length=10**15)]
    refuse(server, entry, tmp_path, "announces 1,000,000,000,000,000 bytes")


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_file_that_is_not_there(server, entry, tmp_path, status):
    server.plan = [answering(status)]
    refuse(server, entry, tmp_path, f"answers {status} .*give another with --url")
    assert len(server.ranges) == 1


def test_a_redirect_is_followed(server, entry, tmp_path):
    server.plan = [redirecting(server.url)]
    get(server, entry, tmp_path)


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x", "data:,x"]
)
def test_a_redirect_out_of_the_web_is_not_followed(server, entry, tmp_path, target):
    """Red when a server can have a file of this machine copied to where weights are."""
    server.plan = [redirecting(target)]
    with pytest.raises(WeightsError):
        fetch(entry, tmp_path, url=server.url, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "target", "is_refused"),
    [
        ("https://a.example/x", "http://a.example/x", True),
        ("https://a.example/x", "ftp://a.example/x", True),
        ("https://a.example/x", "//b.example/x", False),
        ("https://a.example/x", "/y", False),
        ("http://127.0.0.1/x", "http://127.0.0.1/y", False),
    ],
)
def test_a_redirect_stays_encrypted(url, target, is_refused):
    """Red when whoever is between can send another file after all."""
    answer = requests.Response()
    answer.status_code, answer.url, answer.headers["Location"] = 302, url, target
    if is_refused:
        with pytest.raises(WeightsError, match="not encrypted"):
            _stay_encrypted(answer)
    else:
        _stay_encrypted(answer)


def test_the_hook_is_called(server, entry, tmp_path, monkeypatch):
    """Red when requests follows a redirect without asking it."""
    met = []
    monkeypatch.setattr("weights.fetch._stay_encrypted", lambda answer, **_: met.append(answer.url))
    server.plan = [redirecting("/other.npy")]
    fetch(entry, tmp_path, url=server.url, progress=False)
    assert len(met) == 2


@pytest.mark.parametrize("url", ["http://a.example/x", "file:///etc/passwd", "ftp://a.example/x"])
def test_an_address_that_others_can_change(tmp_path, url):
    """Red when a file that only its shapes tell is taken over a line that anybody may change."""
    with pytest.raises(WeightsError, match=r"must begin with https://"):
        fetch(BY_CONTENT, tmp_path, url=url, progress=False)


def test_a_redirect_in_circles(server, entry, tmp_path):
    server.plan = [redirecting(server.url)] * 40
    refuse(server, entry, tmp_path, "cannot be fetched")


def test_nobody_there(server, entry, tmp_path):
    with pytest.raises(WeightsError, match=r"nothing new in 2 attempts: .*refused"):
        fetch(entry, tmp_path, url="http://127.0.0.1:1/", progress=False, attempts=2)
    assert names(tmp_path) == []


@pytest.mark.parametrize("url", ["nonsense", "file:///etc/passwd", "http://"])
def test_an_address_that_is_none(entry, tmp_path, url):
    with pytest.raises(WeightsError, match=r"cannot be fetched|must begin with https://"):
        fetch(entry, tmp_path, url=url, progress=False)


def test_a_file_that_is_there_is_kept(server, entry, tmp_path):
    (tmp_path / entry.file_name).write_bytes(CONTENT)
    get(server, entry, tmp_path)
    assert server.ranges == []


def test_a_foreign_file_of_that_name_is_kept_and_told(server, entry, tmp_path):
    """Red if somebody's own file is overwritten, or taken for the right one."""
    (tmp_path / entry.file_name).write_bytes(b"mine")
    refuse(server, entry, tmp_path, "small", keeps=[entry.file_name])
    assert (tmp_path / entry.file_name).read_bytes() == b"mine"


def test_a_folder_that_is_a_file(server, entry, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="Cannot write to"):
        fetch(entry, tmp_path / "file", url=server.url, progress=False)


def test_one_download_at_a_time(server, entry, tmp_path):
    """Red if two processes write into one part."""
    with (
        Partial(tmp_path / entry.file_name, "url", 10),
        pytest.raises(WeightsError, match="written by another process"),
    ):
        fetch(entry, tmp_path, url=server.url, progress=False)
    get(server, entry, tmp_path)


def test_a_part_that_another_process_has_just_finished(server, entry, tmp_path, monkeypatch):
    """It was opened, then renamed: red if the finished file is emptied as a part of old."""
    finished = tmp_path / entry.file_name

    def lock(self, *message):
        (tmp_path / part_of(entry)[0]).write_bytes(CONTENT)
        (tmp_path / part_of(entry)[0]).rename(finished)

    monkeypatch.setattr("fcntl.flock", lock)
    with pytest.raises(WeightsError, match="run again"):
        fetch(entry, tmp_path, url=server.url, progress=False)
    assert finished.read_bytes() == CONTENT


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_stopped_goes_on(server, tmp_path, number):
    """Ctrl-C and kill: exit 130, a line that says how, and the next run asks for the rest."""
    stalled, go = threading.Event(), threading.Event()

    def stall(handler):
        handler.start(200, Content_Length=243_861_814, ETag='"one"')
        handler.wfile.write(bytes(300_000))
        stalled.set()
        go.wait(PATIENCE_SECONDS)

    server.plan = [stall, answering(404)]
    args = ["fetch", "alexnet", "--folder", str(tmp_path), "--url", server.url]
    command = [sys.executable, "-m", "weights", *args]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert stalled.wait(PATIENCE_SECONDS)
    part = tmp_path / ".bvlc_alexnet.npy.part"
    almost = 4 * CHUNK_BYTES - 8192  # less what lies in its own buffer
    wait_until(lambda: part.stat().st_size >= almost, "four pieces", process)
    process.send_signal(number)
    errors = process.communicate()[1]
    go.set()
    assert process.returncode == 130
    assert f"go on with: python -m weights fetch alexnet --folder {tmp_path}" in errors
    subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert server.ranges == [None, f"bytes={4 * CHUNK_BYTES}-"]


def test_the_bar_is_on_standard_error(server, entry, tmp_path, capsys):
    fetch(entry, tmp_path, url=server.url)
    out, err = capsys.readouterr()
    assert out == ""
    assert entry.file_name in err


@pytest.fixture
def asked(server, monkeypatch):
    """Every address on the web leads to the server here, unencrypted; those that were asked for."""
    send, addresses = requests.adapters.HTTPAdapter.send, []

    def send_here(adapter, request, **options):
        addresses.append(request.url)
        parts = urlsplit(request.url)
        request.url = parts._replace(scheme="http", netloc=urlsplit(server.url).netloc).geturl()
        answer = send(adapter, request, **options)
        answer.url = request.url = addresses[-1]
        return answer

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send_here)
    return addresses


def small_file_like(entry):
    """What an entry becomes when its file is `CONTENT`: the demands on its address stay."""
    checksum = entry.checksum and f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    shapes = entry.shapes and SHAPES
    limits = {"num_parameters": BY_CONTENT.num_parameters, "max_bytes": BY_CONTENT.max_bytes}
    return dataclasses.replace(entry, checksum=checksum, shapes=shapes, **limits)


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.url])
def test_every_known_address_can_be_fetched(server, asked, tmp_path, monkeypatch, name):
    """Red for an address that the fetcher itself refuses, whatever its demands are."""
    entry = ENTRIES[name]
    monkeypatch.setattr("weights.registry.SIGNATURES", {})  # the content here is always an .npy
    path = fetch(small_file_like(entry), tmp_path, progress=False)
    assert (path.name, path.read_bytes()) == (entry.file_name, CONTENT)
    assert asked == [entry.url]


def test_alexnet_from_the_command_to_the_file(command, server, asked, tmp_path):
    """The README's command, on a file of the real size."""
    layers = {}
    for name, shape in ALEXNET_SHAPES.items():
        layers.setdefault(name.partition("/")[0], []).append(np.zeros(shape, "float32"))
    stream = io.BytesIO()
    np.save(stream, np.array(layers, dtype=object))
    server.content = stream.getvalue()
    code, out, _ = command("fetch", "alexnet", "--folder", tmp_path)
    path = tmp_path / "bvlc_alexnet.npy"
    assert (code, out) == (0, f"{path} is there and verified.\n")
    assert path.stat().st_size == len(server.content)
    assert asked == [ENTRIES["alexnet"].url]
    path.unlink()  # 244 MB


@pytest.mark.parametrize("name", ["alexnet", "resnet50"])
def test_without_a_network_a_line_says_what_to_do(command, monkeypatch, tmp_path, name):
    """Red for requests' nested class names, or no way to bring the file by hand."""

    def unknown(*args, **options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr("weights.fetch.RETRY_SECONDS", 0)
    for proxy in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    entry = ENTRIES[name]
    code, out, err = command("fetch", name, "--folder", tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "Name or service not known" in err
    assert "Pool" not in err
    assert "byte 0" not in err
    assert f"download it elsewhere and put it at {tmp_path / entry.file_name}," in err
    assert f"python -m weights verify {tmp_path / entry.file_name}" in err
    if entry.checksum:
        assert entry.checksum.partition(":")[2] in err
    assert names(tmp_path) == []


def test_verify_says_what_is_wrong(tmp_path):
    path = tmp_path / "small.npy"
    with pytest.raises(WeightsError, match="No such file"):
        verify(path, BY_CONTENT)
    path.write_bytes(CONTENT[:1000])
    with pytest.raises(WeightsError, match=r"must have 458,724 to 600,000 bytes.* has 1,000"):
        verify(path, BY_CONTENT)
    path.write_bytes(b"<html>" + CONTENT)
    with pytest.raises(WeightsError, match="starts with b'<html>"):
        verify(path, BY_CONTENT)
    with pytest.raises(WeightsError, match="sha256 checksum"):
        verify(path, BY_CHECKSUM)
    path.write_bytes(CONTENT)
    verify(path, BY_CONTENT)
    verify(path, BY_CHECKSUM)


def test_the_registry_can_be_trusted():
    """Red for a name or a file name twice, a checksum of the wrong length, too small a bound;
    or for a package whose file is not known by its checksum."""
    assert len({entry.file_name for entry in ENTRIES.values()}) == len(ENTRIES) == 11
    for name, entry in ENTRIES.items():
        assert find_entry(name) is find_entry(entry.file_name) is entry
        addresses = [*filter(None, (entry.url, entry.package_path))]
        assert addresses
        assert all(address.endswith(f"/{entry.file_name}") for address in addresses)
        assert (entry.package is None) == (not entry.package_path)
        assert entry.package is None or entry.checksum.startswith("sha256:")
        assert entry.max_bytes > 4 * entry.num_parameters
        if entry.checksum is not None:
            algorithm, _, digest = entry.checksum.partition(":")
            assert len(bytes.fromhex(digest)) == hashlib.new(algorithm).digest_size
    with pytest.raises(WeightsError, match="alexnet, efficientnet_lite0"):
        find_entry("nothing")
