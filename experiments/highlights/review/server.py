"""Serves a review to this machine's browsers, and to nobody else."""

from __future__ import annotations

import json
import logging
import mimetypes
import secrets
import socket
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import InputError
from experiments.highlights.review.actions import curve
from experiments.highlights.review.desk import Desk
from experiments.highlights.review.gate import Gate

if TYPE_CHECKING:
    from fastapi import FastAPI

HOST = "127.0.0.1"
_TOKEN_BYTES = 32
_STOP_SECONDS = 1  # that a browser gets to end what it is loading


def serve(desk: Desk, *, port: int = 0, opens: bool = True) -> None:
    """Serve until Ctrl-C. The address, with its token, is printed.

    NiceGUI's state is the process's: call it once.

    Args:
        desk: the review.
        port: to listen on; 0 for one that is free.
        opens: whether a browser is opened.

    Raises:
        InputError: if the port cannot be had.
    """
    import uvicorn

    with _listening(port) as listener:
        port, token = listener.getsockname()[1], secrets.token_urlsafe(_TOKEN_BYTES)
        config = uvicorn.Config(
            Gate(_app(desk), token, port),
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            ws="wsproto",
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
        address = f"http://{HOST}:{port}/?token={token}"
        print(f"{desk.title}: {address}\nCtrl-C ends the review.", flush=True)
        if opens:
            _open(address)
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            print(f"\nStopped. {_kept(desk.session.path)}")
        finally:
            desk.job.stop()


def _kept(path: Path) -> str:
    if not path.exists():
        return "Nothing was decided."
    return f"{path} keeps the review; the same command goes on with it."


def _listening(port: int) -> socket.socket:
    """A socket that takes connections, so that the address may be used at once."""
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


def _app(desk: Desk) -> FastAPI:
    """The page, the scores and the files of the recording, each by its number; nothing else."""
    from fastapi import FastAPI
    from fastapi.responses import FileResponse, Response
    from nicegui import ui

    from experiments.highlights.review.page import Page

    logging.getLogger("nicegui").setLevel(logging.ERROR)  # or each 404 is a line
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    scores = json.dumps(curve(desk.session)).encode()
    pages: dict[str, Page] = {}

    def refresh_all() -> None:
        for page in list(pages.values()):
            page.refresh()

    @app.get("/scores")
    def send_scores() -> Response:
        return Response(scores, media_type="application/json")

    @app.get("/video/{number}")
    def send_video(number: int) -> Response:
        if not 0 <= number < len(desk.chunks):
            return Response(status_code=404)
        path = desk.chunks[number].file
        return FileResponse(path, media_type=_media_type(path))

    @ui.page("/")
    def build() -> None:
        client = ui.context.client
        pages[client.id] = Page(desk, refresh_all)
        client.on_delete(lambda: pages.pop(client.id, None))

    ui.run_with(
        app,
        title=f"Review of {desk.title}",
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
    """In a browser with windows; one that runs in the terminal would take it over."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return
    if type(browser) is not webbrowser.GenericBrowser:
        browser.open(address)
