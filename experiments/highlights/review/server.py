"""Server of a review for browsers of this machine only.

A browser may talk to it from the page's own origin, with the token that the command printed.
"""

from __future__ import annotations

import json
import logging
import math
import mimetypes
import secrets
import socket
import threading
import webbrowser
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from nicegui import ui

from common.errors import InputError
from experiments.clips.images import Box
from experiments.highlights.review.desk import Desk, curve
from experiments.highlights.review.media import (
    MODEL_INPUT,
    THUMBNAIL,
    PlayableCopies,
    moment_image,
    waveform,
)
from experiments.highlights.review.page import Page, all_chunks

HOST = "127.0.0.1"
_TOKEN_BYTES = 32
_MAX_IMAGES = 2000  # that are kept in memory, of some kB each
_STOP_SECONDS = 1  # time that a browser gets to finish what it is loading


def serve(
    desks: Sequence[Desk], copies: PlayableCopies, *, port: int = 0, opens: bool = True
) -> None:
    """Serve reviews until Ctrl-C. The address, with its token, is printed.

    Call it once per process, because NiceGUI's state is global.

    Args:
        desks: the reviews, one a recording.
        copies: playable copies of the recordings' files.
        port: port to listen on; 0 for one that is free.
        opens: whether to open a browser.

    Raises:
        InputError: if the port cannot be used.
    """
    with _listening(port) as listener:
        port, token = listener.getsockname()[1], secrets.token_urlsafe(_TOKEN_BYTES)
        config = uvicorn.Config(
            Gate(_app(desks, copies), token, port),
            log_level="critical",
            access_log=False,
            # No proxy stands before this server, so headers that name another client are not
            # believed.
            proxy_headers=False,
            server_header=False,
            ws="wsproto",
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
        address = f"http://{HOST}:{port}/?token={token}"
        titles = ", ".join(desk.title for desk in desks)
        print(f"{titles}: {address}\nCtrl-C ends the review.", flush=True)
        if opens:
            _open(address)
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            kept = dict.fromkeys(_kept(desk.session.path) for desk in desks)
            print(f"\nStopped. {' '.join(kept)}")
        finally:
            for desk in desks:
                if desk.job is not None:
                    desk.job.stop()
            copies.stop()


def _kept(path: Path) -> str:
    if not path.exists():
        return "Nothing was decided."
    return f"{path} keeps the review; the same command goes on with it."


def _listening(port: int) -> socket.socket:
    """Open a socket that takes connections at once, so that the address can be printed."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        raise InputError(
            f"Port {port} of {HOST} cannot be had ({error}). Give another --port, or none."
        ) from error
    return listener


def _app(desks: Sequence[Desk], copies: PlayableCopies) -> FastAPI:
    """Build the application: the page, the scores, and the recording's files by their numbers."""
    logging.getLogger("nicegui").setLevel(logging.ERROR)  # or each 404 is a line
    # A video is asked for by its number: no path comes from the browser, so none can lead astray.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    scores = [json.dumps(curve(desk.session)).encode() for desk in desks]
    chunks = all_chunks(desks)
    pages: dict[str, Page] = {}
    # Pictures are made one at a time: a long list asks for many at once.
    drawing = threading.Lock()

    @lru_cache(_MAX_IMAGES)
    def drawn(recording: int, time: float, box: Box | None, is_input: bool) -> bytes | None:
        settings = MODEL_INPUT if is_input else THUMBNAIL
        with drawing:
            return moment_image(desks[recording].chunks, time, settings, box)

    @lru_cache(len(desks))
    def heard(recording: int) -> bytes:
        desk = desks[recording]
        kept = None if desk.job is None else desk.job.kept.loudness.get()
        return json.dumps(waveform(desk.chunks, kept)).encode()

    def refresh_all() -> None:
        for page in list(pages.values()):
            page.refresh()

    @app.get("/scores")
    def send_scores(recording: int = 0) -> Response:
        if not 0 <= recording < len(desks):
            return Response(status_code=404)
        return Response(scores[recording], media_type="application/json")

    @app.get("/waveform")
    def send_waveform(recording: int = 0) -> Response:
        if not 0 <= recording < len(desks):
            return Response(status_code=404)
        return Response(heard(recording), media_type="application/json")

    @app.get("/picture")
    def send_image(time: float, recording: int = 0, model: bool = False) -> Response:
        if not (0 <= recording < len(desks) and 0 <= time < math.inf):
            return Response(status_code=404)
        box = desks[recording].session.box if model else None
        content = drawn(recording, round(time, 2), box, model)
        if content is None:
            return Response(status_code=404)
        # The address names the moment; what is cut out may change.
        headers = {"cache-control": "no-store" if model else "private, max-age=3600"}
        return Response(content, media_type="image/jpeg", headers=headers)

    @app.get("/video/{number}")
    def send_video(number: int, copy: bool = False) -> Response:
        if not 0 <= number < len(chunks):
            return Response(status_code=404)
        path = copies.path(number) if copy else chunks[number].file
        if path is None:
            return Response(status_code=404)
        return FileResponse(path, media_type=_media_type(path))

    @app.get("/reel")
    def send_reel(recording: int = 0) -> Response:
        job = desks[recording].job if 0 <= recording < len(desks) else None
        if job is None or not job.out.is_file():
            return Response(status_code=404)
        return FileResponse(job.out, media_type=_media_type(job.out))

    @ui.page("/")
    def build() -> None:
        client = ui.context.client
        pages[client.id] = Page(desks, copies, refresh_all)
        client.on_delete(lambda: pages.pop(client.id, None))

    ui.run_with(
        app,
        title=f"Review of {', '.join(desk.title for desk in desks)}",
        dark=None,
        tailwind=False,
        gzip_middleware_factory=None,
        reconnect_timeout=30,
        show_welcome_message=False,
    )
    return app


def _media_type(path: Path) -> str:
    guess = mimetypes.guess_type(path.name)[0] or ""
    return guess if guess.startswith("video/") else "application/octet-stream"


def _open(address: str) -> None:
    """Open an address in a browser with windows; one in the terminal would take that over."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return
    if type(browser) is not webbrowser.GenericBrowser:
        browser.open(address)


Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

# The first answer: a page that loads the review by itself.
_DOOR = (
    b'<!doctype html><meta http-equiv="refresh" content="0;url=/"><title>Review</title>'
    b'<p><a href="/">Go on to the review</a>'
)
_SAFE_METHODS = ("GET", "HEAD")


class Gate:
    """ASGI middleware that admits only the holder of a token.

    A request must name this server as its host, come from no other origin, and bring the token as
    a cookie. The address `/?token=...` sets the cookie. Everything else is refused with 403: a
    page of another site, one of another port of this machine, and a name that was made to point
    at 127.0.0.1.

    Args:
        app: application that is protected.
        token: the secret.
        port: port on which this server listens.
    """

    def __init__(self, app: App, token: str, port: int) -> None:
        self.app = app
        self._token = token
        place = "" if port == 80 else f":{port}"
        self._hosts = (f"127.0.0.1{place}", f"localhost{place}")
        self._cookie = f"review-{port}"  # browsers share cookies among the ports of a host
        self._headers = [(name, value.encode()) for name, value in _headers(self._hosts)]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = _Headers(scope)
        # The host comes first: a foreign name that points at 127.0.0.1 must not even try tokens.
        if not self._is_for_us(headers):
            await self._refuse(scope, send, b"This server answers at 127.0.0.1 only.")
        elif self._has_token_in_address(scope):
            await self._let_in(send)
        elif not self._is_from_us(scope, headers):
            await self._refuse(scope, send, b"This page answers its own origin only.")
        elif not self._has_cookie(headers):
            await self._refuse(scope, send, b"Open the address that the command printed.")
        else:
            await self.app(scope, receive, self._guarded(send))

    def _is_for_us(self, headers: _Headers) -> bool:
        return headers.all("host") in ([host] for host in self._hosts)

    def _has_token_in_address(self, scope: Message) -> bool:
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != "/":
            return False
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        return len(given) == 1 and self._is_token(given[0])

    def _is_from_us(self, scope: Message, headers: _Headers) -> bool:
        """Check the origin, which browsers always send with web sockets and unsafe methods."""
        origins, sites = headers.all("origin"), headers.all("sec-fetch-site")
        reads = scope["type"] == "http" and scope["method"] in _SAFE_METHODS
        own = [f"http://{headers.all('host')[0]}"]
        return (origins == own or (reads and not origins)) and sites in (
            [],
            ["same-origin"],
            ["none"],
        )

    def _has_cookie(self, headers: _Headers) -> bool:
        pairs = (pair.strip().partition("=") for pair in ";".join(headers.all("cookie")).split(";"))
        return any(name == self._cookie and self._is_token(value) for name, _, value in pairs)

    def _is_token(self, given: str) -> bool:
        # Takes the same time wherever the two differ, so that no token can be guessed by its time.
        return secrets.compare_digest(given.encode(), self._token.encode())

    async def _let_in(self, send: Send) -> None:
        """Set the cookie by a page that loads the review itself.

        A redirect would not carry a strict cookie. The page's address holds the token and does
        not stay in the browser's history.
        """
        cookie = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
        headers = [(b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"no-store")]
        await _answer(
            send, 200, [*headers, (b"set-cookie", cookie.encode()), *self._headers], _DOOR
        )

    async def _refuse(self, scope: Message, send: Send, reason: bytes) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before it opened: a 403
            return
        headers = [(b"content-type", b"text/plain; charset=utf-8"), *self._headers]
        await _answer(send, 403, headers, reason)

    def _guarded(self, send: Send) -> Send:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self._headers]
            await send(message)

        return with_headers


class _Headers:
    """Headers of a request, by their names in lower case."""

    def __init__(self, scope: Message) -> None:
        self._pairs = [(name.lower(), value) for name, value in scope["headers"]]

    def all(self, name: str) -> list[str]:
        return [value.decode("latin-1") for key, value in self._pairs if key == name.encode()]


def _headers(hosts: tuple[str, ...]) -> list[tuple[bytes, str]]:
    """Security headers of every answer. NiceGUI needs inline scripts, and eval for Vue."""
    sockets = " ".join(f"ws://{host}" for host in hosts)
    policy = (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        f"connect-src 'self' {sockets}; object-src 'none'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
    return [
        (b"content-security-policy", policy),
        (b"cross-origin-resource-policy", "same-origin"),
        (b"cross-origin-opener-policy", "same-origin"),
        (b"referrer-policy", "no-referrer"),
        (b"x-content-type-options", "nosniff"),
    ]


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
