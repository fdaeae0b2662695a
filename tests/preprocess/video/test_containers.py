"""Files that are named like videos, but have FFmpeg open something else."""

import http.server
import subprocess
import threading

import av
import imageio_ffmpeg
import pytest

from preprocess.errors import DecodeError
from preprocess.extraction.extract import extract
from preprocess.video.decode import probe
from preprocess.video.sound import read_sound
from preprocess.video.video_file import open_container

HLS = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\n{}\n#EXT-X-ENDLIST\n"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {} RTP/AVP 96\n"
DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'profiles="urn:mpeg:dash:profile:isoff-live:2011" mediaPresentationDuration="PT1S"><Period>'
    '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{}'
    "</BaseURL></Representation></AdaptationSet></Period></MPD>"
)
ID3 = "ID3\x03\0\0\0\0\0\x0a" + "\0" * 10  # FFmpeg looks behind it for what the file is


def ffmpeg(*args, folder):
    args = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", *map(str, args)]
    return subprocess.run(args, cwd=folder, check=True, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a video that the playlists of the tests name."""
    path = tmp_path_factory.mktemp("videos")
    sources = ["testsrc=size=64x48:rate=10:duration=1", "sine=duration=1"]
    inputs = [word for source in sources for word in ("-f", "lavfi", "-i", source)]
    ffmpeg(*inputs, "-c:v", "mpeg4", "-c:a", "mp2", "other.ts", folder=path)
    return path


@pytest.fixture(scope="module")
def server(folder):
    """Gives what lies in the folder, and keeps what it was asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    def handler(*args):
        return Handler(*args, directory=str(folder))

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/other.ts", asked
    server.shutdown()


PLAYLISTS = {
    "concat.mp4": "ffconcat version 1.0\nfile {name}\n",
    "concat-absolute.avi": "ffconcat version 1.0\nfile {path}\n",
    "concat-passwd.mp4": "ffconcat version 1.0\nfile /etc/passwd\n",
    "concat-http.mp4": "ffconcat version 1.0\nfile {http}\n",
    "hls.mp4": HLS.format("{name}"),
    "hls.m3u8": HLS.format("{name}"),
    "hls-absolute.m3u8": HLS.format("file://{path}"),
    "hls-http.m3u8": HLS.format("{http}"),
    "hls-id3.m3u8": ID3 + HLS.format("{name}"),
    "hls-passwd.m3u8": HLS.format("file:///etc/passwd"),
    "sdp.mp4": SDP.format(5004),
    "dash.mpd": DASH.format("{http}"),
    "dash.mp4": DASH.format("{path}"),
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_is_refused_and_nothing_it_names_is_opened(name, folder, server):
    """Red when FFmpeg may take a file for a playlist, whoever calls it."""
    http_address, asked = server
    asked.clear()
    path = folder / name
    text = PLAYLISTS[name].format(name="other.ts", path=folder / "other.ts", http=http_address)
    path.write_text(text, "latin-1")
    with pytest.raises(DecodeError):
        open_container(path)
    with pytest.raises(DecodeError):
        read_sound(path)
    assert asked == []


def test_the_attack_works_where_nothing_is_limited(folder):
    """Else the test above would be green for playlists that FFmpeg does not know anyway."""
    path = folder / "unlimited.mp4"
    path.write_text("ffconcat version 1.0\nfile other.ts\n")
    with av.open(str(path)) as unlimited:
        assert next(unlimited.decode(video=0)).width == 64
    hls = folder / "unlimited.m3u8"
    hls.write_text(HLS.format("other.ts"))
    ffmpeg("-i", hls, "-f", "null", "-", folder=folder)


def test_extraction_names_a_playlist_and_reads_the_rest(folder, tmp_path):
    """Red when the message of a refusal, or the environment, is lost on the way to a worker."""
    scene = tmp_path / "videos" / "class"
    scene.mkdir(parents=True)
    (scene / "good.mpg").write_bytes((folder / "other.ts").read_bytes())
    (scene / "list.mp4").write_text("ffconcat version 1.0\nfile good.mpg\n")
    summary = extract(tmp_path / "videos", tmp_path / "shards", jobs=1)
    rows = (tmp_path / "shards" / "failures.csv").read_text().splitlines()
    assert (summary.num_clips, summary.num_extracted) == (2, 1)
    assert len(rows) == 2
    assert "a kind that is not opened, such as a playlist" in rows[1]


KINDS = {
    **dict.fromkeys(("a.mp4", "a.mov", "a.mkv", "a.avi", "a.ts", "a.nut", "a.3gp"), "mpeg4"),
    **dict.fromkeys(("a.mpg", "a.m2v"), "mpeg2video"),
    **{"a.webm": "vp8", "a.flv": "flv", "a.wmv": "wmv2", "a.mxf": "mpeg2video", "a.ogv": "theora"},
    **{"a.gif": "gif", "a.y4m": "rawvideo", "a.mjpeg": "mjpeg", "a.h264": "libx264"},
    **{"a.m1v": "mpeg1video", "a.m4v": "mpeg4", "a.ivf": "vp8", "a.rm": "rv20"},
}


@pytest.mark.parametrize("name", KINDS)
def test_usual_kinds_of_video_are_opened(name, tmp_path):
    """Red when a kind that people have falls off the list."""
    args = ["-f", "lavfi", "-i", "testsrc=size=352x288:rate=25:duration=0.4", "-an"]
    args += ["-c:v", KINDS[name], *(["-pix_fmt", "yuv420p"] if name == "a.y4m" else [])]
    ffmpeg(*args, name, folder=tmp_path)
    assert probe(tmp_path / name).width == 352


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.flac", "a.m4a", "a.ogg", "a.aac", "a.ac3"])
def test_usual_kinds_of_sound_are_opened(name, tmp_path):
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.5", name, folder=tmp_path)
    sound = read_sound(tmp_path / name)
    assert abs(len(sound.samples) / sound.sample_rate - 0.5) < 0.1
