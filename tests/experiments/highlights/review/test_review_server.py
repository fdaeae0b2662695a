"""The server of a review, spoken to without a browser: it answers its own page and nobody else."""

import base64
import http.client
import json
import os
import re
import socket
from importlib.metadata import version

import pytest

from tests.experiments.highlights.review.conftest import COMMAND, reviewing
from tests.processes import PATIENCE_SECONDS, REPOSITORY, run

SOCKET = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"


class Client:
    """Sends requests as they are told, with the right host, origin and cookie or without."""

    def __init__(self, address):
        self.port = int(re.search(r":(\d+)/", address)[1])
        self.token = address.split("token=")[1]
        self.host = f"127.0.0.1:{self.port}"
        self.origin = f"http://{self.host}"
        self.cookie = f"review-{self.port}={self.token}"

    def ask(self, path="/", method="GET", *, host=None, cookie=None, **headers):
        """(status, headers, body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host or self.host)
        if cookie != "":
            connection.putheader("Cookie", cookie or self.cookie)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        found = answer.status, answer.headers, answer.read()
        connection.close()
        return found

    def status(self, *args, **kwargs):
        return self.ask(*args, **kwargs)[0]

    def shake(self, **headers):
        """The status of a web socket's handshake."""
        key = base64.b64encode(os.urandom(16)).decode()
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec_WebSocket_Version": "13",
            "Sec_WebSocket_Key": key,
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        pairs = {"Host": self.host, "Origin": self.origin, "Cookie": self.cookie} | headers
        connection.putrequest("GET", SOCKET, skip_host=True, skip_accept_encoding=True)
        for name, value in (upgrade | pairs).items():
            if value is not None:
                connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        status = connection.getresponse().status
        connection.close()
        return status


@pytest.fixture(scope="module")
def client(tmp_path_factory, chunks):
    """One server for all that only read."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "scores.csv").write_text("time_seconds,probability\n1,0.5\n50,0.9\n")
    (folder / "secret.txt").write_text("secret")
    with reviewing(folder, chunks, "--scores", "scores.csv", "--labels", "labels.csv") as address:
        client = Client(address)
        client.folder = folder
        yield client


ASSETS = f"/_nicegui/{version('nicegui')}"
MEDIA = ["/scores", "/waveform", "/picture?time=1", "/reel", "/video/0"]
PATHS = ["/", *MEDIA, f"{ASSETS}/static/nicegui.js", "/favicon.ico", "/nothing"]


@pytest.mark.parametrize("path", PATHS)
def test_nothing_without_the_token(client, path):
    """Red when one path answers whoever asks."""
    for cookie in ("", "a=b", f"review-{client.port}=", f"review-{client.port}={'x' * 43}"):
        assert client.status(path, cookie=cookie) == 403
    assert client.status(path, cookie=f"review-1={client.token}") == 403
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert client.status(path, method, cookie="", Origin=client.origin) == 403


def test_the_page_with_the_token(client):
    assert client.status("/") == 200
    assert client.status("/", host=f"localhost:{client.port}") == 200
    assert client.status("/", cookie=f"broken={{a; =; {client.cookie}") == 200
    assert client.status(f"{ASSETS}/static/nicegui.js") == 200
    assert client.status("/nothing") == 404


def test_the_door(client):
    """Red when the token opens other paths, is let through wrong, or the cookie may be stolen."""
    status, headers, body = client.ask(f"/?token={client.token}", cookie="")
    assert status == 200
    cookie = headers["Set-Cookie"]
    assert cookie == f"{client.cookie}; Path=/; HttpOnly; SameSite=Strict"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert client.token not in body.decode()
    for path in (
        f"/scores?token={client.token}",
        f"/?token={client.token[:-1]}",
        f"/?token={client.token}&token={client.token}",
        "/?token=",
        "/?token=%ff",
    ):
        assert client.status(path, cookie="") == 403
    assert client.status(f"/?token={client.token}", "POST", cookie="") == 403
    assert client.status(f"/?token={client.token}", cookie="", host="evil.example") == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}", ""]
)
def test_other_names_of_this_machine(client, host):
    """Red when a name that somebody made point at 127.0.0.1 reaches the page (DNS rebinding)."""
    name = host.format(port=client.port)
    if name:
        assert client.status("/", host=name) == 403
    assert client.shake(Host=name or None) in (400, 403)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:{port}"]
)
def test_other_origins(client, origin):
    """Red when a page of another site or port can speak for the person who is logged in."""
    origin = origin.format(port=client.port)
    assert client.status("/", Origin=origin) == 403
    assert client.status("/scores", Origin=origin) == 403
    assert (
        client.status("/_nicegui_ws/socket.io/?EIO=4&transport=polling", "POST", Origin=origin)
        == 403
    )
    assert client.shake(Origin=origin) == 403


def test_what_changes_things_names_its_origin(client):
    assert client.status("/", "POST") == 403
    assert client.shake(Origin=None) == 403


@pytest.mark.parametrize(
    ("site", "status"),
    [("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403)],
)
def test_what_the_browser_says_of_the_site(client, site, status):
    """Red when a page of another port of this machine can show the video."""
    assert client.status("/scores", Sec_Fetch_Site=site) == status


def test_the_web_socket(client):
    """Red when the socket, through which all is done, opens without the token or to others."""
    assert client.shake() == 101
    assert client.shake(Cookie=None) == 403
    assert client.shake(Cookie=f"review-{client.port}=x") == 403


def test_pictures_and_sound(client):
    """Red when a moment that is not there breaks the server, or the sound is another's."""
    status, headers, body = client.ask("/picture?time=4.2")
    assert (status, headers["Content-Type"], body[:2]) == (200, "image/jpeg", b"\xff\xd8")
    assert client.ask("/picture?time=4.2&model=true")[2] != body
    for time in ("nan", "inf", "-1"):
        assert client.status(f"/picture?time={time}") == 404
    assert client.status("/picture?time=59.99") == 200
    wave = json.loads(client.ask("/waveform")[2])
    assert wave["step"] * len(wave["levels"]) == pytest.approx(60, abs=0.1)
    assert min(wave["levels"][20:500]) > 100  # a sine that never ends
    for path in ("/picture?time=1&recording=1", "/waveform?recording=-1", "/scores?recording=7"):
        assert client.status(path) == 404
    assert client.status("/reel") == 404  # there is none yet
    assert client.status("/video/0?copy=true") == 404


def test_files_by_number_and_nothing_else(client, chunks):
    """Red when a path reaches a file that was not chosen."""
    for number in (0, 1):
        status, headers, body = client.ask(f"/video/{number}")
        assert (status, headers["Content-Type"]) == (200, "video/mp4")
        assert body == (chunks / f"part{number}.mp4").read_bytes()
    for path in (
        "/video/2",
        "/video/-1",
        "/video/part0.mp4",
        "/video/..%2fsecret.txt",
        "/video/../secret.txt",
        "/secret.txt",
        "/..%2f..%2fetc%2fpasswd",
        f"{ASSETS}/static/..%2f..%2fpage.py",
        f"{ASSETS}/esm/x/%2e%2e/%2e%2e/server.py",
    ):
        status, _, body = client.ask(path)
        assert status in (404, 422), path
        assert b"secret" not in body.replace(b"secret.txt", b"")


def test_parts_of_a_video(client, chunks):
    """Red when the browser cannot seek without loading all before."""
    content = (chunks / "part0.mp4").read_bytes()
    status, headers, body = client.ask("/video/0", Range="bytes=1000-1999")
    assert (status, body) == (206, content[1000:2000])
    assert headers["Content-Range"] == f"bytes 1000-1999/{len(content)}"
    assert client.ask("/video/0", Range="bytes=-10")[2] == content[-10:]
    assert client.status("/video/0", Range=f"bytes={len(content)}-") == 416


def test_what_the_browser_is_told_to_keep_to(client):
    """Red when the page could load from the network, or be shown inside another."""
    for path in ("/", "/video/0", "/nothing"):
        headers = client.ask(path)[1]
        policy = headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert not re.search(r"https?:|\*", policy)
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Access-Control-Allow-Origin"] is None


def test_only_this_machine_is_listened_to(client):
    """Red when the server is bound to all addresses; 127.0.0.2 stands for another one."""
    with socket.socket() as other, pytest.raises(OSError, match="refused"):
        other.connect(("127.0.0.2", client.port))


def test_nothing_is_written_beside(client):
    """Red when NiceGUI leaves its storage in the folder where the command was started."""
    client.status("/")
    assert sorted(path.name for path in client.folder.iterdir()) == ["scores.csv", "secret.txt"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--port", "{taken}"], "--port"),
        (["--port", "99999"], "--port"),
        (["--box", "1,2"], "--box must be x1,y1,x2,y2"),
        (["--box", "0.5,0,0.2,1"], "x1 < x2"),
        (["-o", "scores.mp4"], "scores.csv would be replaced"),
        (["--labels", "reel.csv"], "reel.csv would be replaced"),
    ],
)
def test_what_cannot_be_started(tmp_path, chunks, scores, flags, message):
    """Red when a wrong flag is found only on the page, or a file that is read may be replaced."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        args = [flag.format(taken=taken.getsockname()[1]) for flag in flags]
        command = [*COMMAND, chunks, "--scores", "scores.csv", "--no-open"]
        done = run([*command, *args], cwd=tmp_path, env=os.environ | {"PYTHONPATH": REPOSITORY})
    assert done.returncode == 2
    assert re.search(rf"error: .*{re.escape(message)}", done.stderr)
