"""`run` as a user types it, with a model that sees brightness: 3 s of each recording are white."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.highlights.commands import main
from experiments.highlights.commands.arguments import Review, Run
from experiments.highlights.commands.remembered import remember, remembered
from experiments.highlights.scoring import kept_moments
from experiments.highlights.scoring.kept_moments import kept_beside
from experiments.highlights.scoring.scoring_job import ScoringOptions
from experiments.highlights.selection import shots
from experiments.media.recording import read_recording
from tests import processes
from tests.experiments.highlights import run_with_stand_in
from tests.experiments.highlights.counters import ffmpeg, read_images
from tests.experiments.highlights.run_with_stand_in import Brightness
from tests.grids import slow
from tests.hold import start_held
from tests.processes import PATIENCE_SECONDS, wait_until_gone

RATE = 10
WHITE = (6.0, 9.0)


def render_white(path, seconds=16, *args, left=0):
    """Black, from some column on white from 6 to 9 s; a sound that never ends."""
    when = f"enable='between(t,{WHITE[0]},{WHITE[1] - 0.01})'"
    white = f"drawbox=x={left}:t=fill:c=white:{when}"
    source = f"color=black:s=64x48:r={RATE}:d={seconds},{white}"
    inputs = ["-f", "lavfi", "-i", source, "-f", "lavfi", "-i", f"sine=500:d={seconds}"]
    encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "20", "-c:a", "aac"]
    ffmpeg(*inputs, *encoder, *args, f"file:{path}")
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return render_white(tmp_path_factory.mktemp("source") / "source.mp4")


@pytest.fixture
def recording(source, tmp_path):
    return shutil.copy(source, tmp_path / "vod.mp4")


@pytest.fixture(autouse=True)
def scorer(monkeypatch):
    made = Brightness()
    monkeypatch.setattr(ScoringOptions, "load", lambda self: made)
    return made


@pytest.fixture
def model(tmp_path):
    """Files that are hashed, but never read."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("scorer.json", "best.keras"):
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def run(tmp_path, model):
    def run(recording, *args, out=tmp_path / "reel.mp4"):
        files = recording if isinstance(recording, list) else [recording]
        flags = ["--no-snap", "--bin-size", "1", "--model", str(model), "-o", str(out)]
        return main(["run", *map(str, files), *flags, *map(str, args)])

    return run


def spans(path):
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [(float(row["start_seconds"]), float(row["end_seconds"])) for row in rows]


def test_the_reel_is_what_was_white(run, recording, scorer, tmp_path, capsys):
    """Red when a score belongs to another time, or the model's threshold is not taken."""
    assert run(recording) == 0
    assert spans(tmp_path / "reel.csv") == [pytest.approx((5.75, 8.75), abs=0.11)]
    images, _ = read_images(tmp_path / "reel.mp4")
    assert np.mean([image.mean() > 200 for image in images]) > 0.85
    output = capsys.readouterr().out
    assert "threshold is 0.40" in output
    assert f"{scorer.num_images} pictures were scored" in output
    assert f"review --scores {tmp_path / 'reel.scores.csv'}" in output
    names = {path.name for path in tmp_path.iterdir()}
    files = {"reel.mp4", "reel.csv", "reel.scores.csv", "reel.scores.json", "reel.options.json"}
    assert names == files | {"vod.mp4", "model"}


def test_another_threshold_predicts_nothing(run, recording, scorer, tmp_path, capsys):
    """Red when scores that are there are made again, or --threshold is not taken."""
    run(recording)
    before = scorer.num_images
    reel = (tmp_path / "reel.mp4").read_bytes()
    assert run(recording, "--overwrite") == 0
    assert (tmp_path / "reel.mp4").read_bytes() == reel
    assert run(recording, "--threshold", 1, "--percentile", 0.9, "--dry-run") == 0
    assert scorer.num_images == before
    assert "are used; --overwrite-scores" in capsys.readouterr().out
    assert run(recording, "--overwrite", "--overwrite-scores") == 0
    assert scorer.num_images == 2 * before


def test_options_need_not_be_repeated(run, recording, model, tmp_path, capsys):
    """Red when an option of the last run is lost, wins over what is typed, or reaches another."""
    labels = tmp_path / "labels.csv"
    labels.write_text("path,start,end,label\n")
    (model / "config.json").write_text(json.dumps({"labels": str(labels)}))
    assert run(recording, "--length", 2.5, "--padding", 0.5, "--cut-lists", "chapters") == 0
    out, scores = tmp_path / "reel.mp4", tmp_path / "reel.scores.csv"
    capsys.readouterr()
    assert main(["run", "-o", str(out), "--dry-run", "--length", "2.25"]) == 0
    output = capsys.readouterr().out
    assert "Taken from the last time where nothing else is said: recording, model" in output
    assert "--length of 2.2 s" in output
    assert "are used; --overwrite-scores" in output
    typed, _ = remembered(Run(out=out, threshold=0.5, every=3))
    assert (typed.length, typed.threshold, typed.fps) == (None, None, None)
    again, _ = remembered(Run(out=out))
    assert (again.length, again.padding, again.cut_lists) == (2.5, 0.5, ("chapters",))
    assert again.recording == (recording,)
    assert not again.dry_run
    page, _ = remembered(Review(scores=(scores,)))
    assert (page.recording, page.labels, page.out) == ((recording,), labels, out)
    assert page.length is None
    assert 0 < page.threshold <= 1  # that of the cut, whatever rule it came from
    higher, _ = remembered(Review(scores=(scores,), threshold=0.1))
    assert (higher.threshold, higher.low_threshold) == (0.7, None)  # --threshold 0.1 is typed
    remember(replace(page, scores=(scores,), box="0,0,1,1", group="friday"))
    again_page, _ = remembered(Review(scores=(scores,)))
    assert again_page == replace(page, box="0,0,1,1", group="friday")
    assert remembered(Run(out=out))[0] == again
    other = Run(recording=(tmp_path / "other.mp4",), out=out)
    assert remembered(other) == (other, [])
    file = tmp_path / "reel.options.json"
    file.write_text(file.read_text().replace("2.5", '"long"'))
    assert main(["run", "-o", str(out)]) == 2
    assert "reel.options.json is damaged: length cannot be 'long'" in capsys.readouterr().err


def test_sound_is_heard_once(run, recording, tmp_path, monkeypatch):
    """Red when a second run decodes the sound again, or moves a cut to another moment."""
    heard = []
    original = kept_moments.read_loudness
    monkeypatch.setattr(
        kept_moments,
        "read_loudness",
        lambda *args, **more: (heard.append(1), original(*args, **more))[1],
    )
    quiet = ["-af", "volume=enable='between(t,4.8,5.1)':volume=0", "-c:v", "copy"]
    ffmpeg("-i", str(recording), *quiet, str(tmp_path / "pause.mp4"))
    args = [tmp_path / "pause.mp4", "--snap", "--overwrite"]
    assert run(*args) == 0
    ((start, _),) = spans(tmp_path / "reel.csv")
    assert 4.75 < start < 5.15
    assert run(*args) == 0
    assert spans(tmp_path / "reel.csv")[0][0] == start
    assert heard == [1]


def test_shots_are_seen_once(run, recording, tmp_path, monkeypatch):
    """Red when frames are decoded for shots again, after scoring or in another command."""
    read = []
    honest = shots.run
    monkeypatch.setattr(
        shots, "run", lambda *args, **more: (read.append(1), honest(*args, **more))[1]
    )
    args = [recording, "--snap", "--overwrite", "--threshold", 0.3]
    assert run(*args) == 0
    found = spans(tmp_path / "reel.csv")
    assert found == [pytest.approx(WHITE, abs=0.01)]  # the changes of shot
    assert run(*args) == 0
    reel = ["reel", tmp_path / "reel.scores.csv", recording, "-o", tmp_path / "other.mp4"]
    assert main([*map(str, reel), "--bin-size", "1", "--threshold", "0.3"]) == 0
    assert spans(tmp_path / "reel.csv") == spans(tmp_path / "other.csv") == found
    assert not read
    (tmp_path / "reel.shots.npz").unlink()
    assert run(*args) == 0
    assert spans(tmp_path / "reel.csv") == found
    assert read


def test_a_recording_and_a_model_must_be_known(tmp_path, monkeypatch, capsys):
    """Red when a traceback is shown where nothing is remembered."""
    monkeypatch.chdir(tmp_path)
    for args, message in (
        (["run"], "no `run` beside this reel remembers one"),
        (["run", "vod.mp4"], "--model DIR, the --out of a run of `train`"),
        (["review"], "no `run` beside this reel remembers one"),
    ):
        assert main(args) == 2
        assert message in capsys.readouterr().err


def test_a_threshold_that_cannot_be_trusted_gives_way_to_a_share(
    run, recording, scorer, tmp_path, capsys
):
    """Red when a reel of all of it is made in silence, or a threshold that was asked for is not."""
    scorer.threshold = 1e-3
    scorer.predict = lambda images: 0.2 + 0.6 * Brightness.predict(scorer, images)
    assert run(recording, "--dry-run") == 0
    output = capsys.readouterr().out
    assert (
        "because the reel would hold 16 of the recording's 16 s. The reel takes the best 5%"
        in output
    )
    assert output.count("vod.mp4,") == 1
    scorer.threshold, scorer.doubts = 0.4, ("it was validated on one clip with highlights",)
    assert run(recording, "--dry-run") == 0
    assert "is not taken, because it was validated on one clip" in capsys.readouterr().out
    assert run(recording, "--dry-run", "--threshold", 0.001) == 0
    output = capsys.readouterr().out
    assert "Warning: the reel holds 16 of the recording's 16 s" in output
    assert "is not taken" not in output
    assert run(recording, "--length", 2) == 0
    ((start, end),) = spans(tmp_path / "reel.csv")
    assert end - start <= 2
    assert WHITE[0] - 0.26 <= start < end <= WHITE[1]


def test_other_scores_are_made_anew(run, recording, model, scorer, capsys):
    """Red when scores of something else are taken; each run differs from the last by one thing."""
    run(recording, "--dry-run")
    fewer = scorer.num_images
    fps = ["--fps", 4]
    box = [*fps, "--box", "0,0,0.5,1"]
    for change, name, args in [
        ("fps", "rate", fps),
        ("box", "box", box),
        ("model", "model", box),
        ("recording", "recording", box),
    ]:
        before = scorer.num_images
        if change == "model":
            (model / "best.keras").write_text("trained again")
        if change == "recording":
            os.utime(recording, ns=(1, 1))
        assert run(recording, "--dry-run", *args) == 0
        assert scorer.num_images == before + 2 * fewer, change
        assert f"is of another {name};" in capsys.readouterr().out


def test_chunks_are_one_recording(run, source, tmp_path):
    """Red when times of a chunk are those of the first, or of the chunk alone."""
    folder = tmp_path / "chunks"
    folder.mkdir()
    for number in range(3):
        shutil.copy(source, folder / f"part{number}.mp4")
    assert run(folder / "part") == 0
    rows = list(csv.DictReader((tmp_path / "reel.csv").open()))
    assert [Path(row["path"]).stem for row in rows] == ["part0", "part1", "part2"]
    assert spans(tmp_path / "reel.csv") == [pytest.approx((5.75, 8.75), abs=0.15)] * 3


NAMES = [
    '-it\'s "a" vod:1,[2] 100%03d%n\nline.mp4',
    *slow('it\'s "a" vod.mp4', "-vod:1,[2].mp4", "100%03d%n.mp4", "two\nlines.mp4"),
]


@pytest.mark.parametrize("name", NAMES)
def test_odd_names(run, source, name, tmp_path, monkeypatch):
    """Red when a name is taken for an option, a URL or a pattern."""
    folder = tmp_path / name.removesuffix(".mp4")
    folder.mkdir()
    shutil.copy(source, folder / name)
    monkeypatch.chdir(folder)
    assert run(f"./{name}", "--cut-lists", "csv", "edl", out=f"reel {name}") == 0
    assert len(read_images(folder / f"reel {name}")[0]) == pytest.approx(30, abs=1)
    assert len(list(folder.iterdir())) == 7


def test_what_exists_is_kept(run, recording, scorer, tmp_path, capsys):
    """Red when that is found out only after an hour of scoring."""
    annotate = ["--annotate", tmp_path / "all.mp4"]
    for name, args in {"reel.mp4": [], "reel.csv": [], "all.mp4": annotate}.items():
        (tmp_path / name).write_text("mine")
        assert run(recording, *args) == 2
        assert f"{name} exists" in capsys.readouterr().err
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()
    (tmp_path / "reel.scores.csv").write_text("time_seconds,probability\n")
    assert run(recording) == 2
    assert "--overwrite-scores" in capsys.readouterr().err
    assert scorer.num_images == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--fps", 2, "--every", 3], "Either fps or every"),
        (["--box", "0,0,1"], "x1,y1,x2,y2"),
        (["--batch-size", 0], "batch_size must be 1 or more"),
        (["--threshold", 2], "threshold must be in"),
        (["--bin-size", -1], "bin_size must be 0 or more"),
        (["--low-threshold", 0.9], "low_threshold must be in"),
        (["--threads", "many"], "auto or INTRA,INTER"),
        (["--annotate", "{out}"], "give another --annotate"),
        (["-o", "reel.mkv"], "an .mp4 file"),
        (["--cut-lists", "links"], "give --url https://..."),
        (["--cut-lists", "links", "--url", "youtu.be/x"], "must begin with http"),
        (["--crossfade", 1.5], "min_length must be twice the crossfade or more"),
        (["--crossfade", 3, "--select-by", "original"], "bin_size must be twice the crossfade"),
        (["--crossfade", -1], "crossfade must be 0 or more"),
        (["--select-by", "original", "--bin-size", 2.5], "bin_size must be whole seconds"),
        (["--select-by", "original", "--share", 0.1], "are of our own selection"),
        (["--sound-track", -1], "sound_track must be 0 or more"),
        (["--sound-track", 1], "1 sound track (0: aac, mono, 44100 Hz). Received --sound-track 1"),
        (["--model", "{folder}"], "A scorer is a directory with scorer.json"),
        (["-o", "{folder}/nowhere/reel.mp4"], "there is no such folder"),
        (["-o", "{folder}/vod.mp4/reel.mp4"], "its folder is a file"),
        (["--annotate", "{folder}/nowhere/all.mp4"], "there is no such folder"),
    ],
)
def test_wrong_options_are_told_before_the_work(run, recording, scorer, capsys, args, message):
    """Red if one of them is told only when hours of scoring are over."""
    folder = recording.parent
    args = [str(word).format(out=folder / "reel.mp4", folder=folder) for word in args]
    try:
        code = run(recording, *args)
    except SystemExit as error:  # tyro's, of an option alone
        code = error.code
    assert code == 2
    output = capsys.readouterr().err.replace("\N{BOX DRAWINGS LIGHT VERTICAL}", "")
    assert message in " ".join(output.split())
    assert scorer.num_images == 0


def test_files_of_different_rates_are_one_reel(run, recording, scorer, tmp_path, capsys):
    """Red if the lists refuse when all is scored, or an EDL is not refused before."""
    second = tmp_path / "second.mp4"
    ffmpeg("-i", str(recording), "-r", "25", "-c:a", "copy", str(second))
    args = ["--cut-lists", "csv", "edl"]
    assert run([recording, second], *args) == 2
    assert "one frame rate. Received files of 10.000 and 25.000" in capsys.readouterr().err
    assert scorer.num_images == 0
    assert run([recording, second], "--cut-lists", "csv", "fcpxml") == 0
    found = spans(tmp_path / "reel.csv")
    assert found == [pytest.approx((5.75, 8.75), abs=0.15)] * 2
    images, rate = read_images(tmp_path / "reel.mp4")
    assert rate == pytest.approx(RATE)
    assert len(images) == pytest.approx(2 * 3 * RATE, abs=2)
    assert np.mean([image.mean() > 200 for image in images]) > 0.85


def test_a_slow_recording_is_told_of_its_frame_rate(run, scorer, tmp_path, capsys):
    """Red if a cross-fade is blamed that nobody asked for, or only after the scoring."""
    path = tmp_path / "slow.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x48:r=0.1:d=60", str(path))
    assert run(path) == 2
    output = capsys.readouterr().err
    assert "a frame rate of 0.1 per second" in output
    assert "give --min-length 10" in output
    assert scorer.num_images == 0
    assert run(path, "--min-length", 10) == 0


def test_bad_recordings_are_told(run, tmp_path, monkeypatch, capsys, recording):
    """Red when a traceback is shown, or the reason is not."""
    assert run(tmp_path / "nowhere") == 2
    assert "no numbered videos" in capsys.readouterr().err
    (tmp_path / "text.mp4").write_text("no video")
    assert run(tmp_path / "text.mp4") == 2
    assert "text.mp4 cannot be read" in capsys.readouterr().err
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "none"))
    assert run(recording) == 2
    assert "ffmpeg" in capsys.readouterr().err


def test_a_chunk_that_cannot_be_read(run, source, tmp_path, capsys):
    folder = tmp_path / "chunks"
    folder.mkdir()
    for number in (0, 2):
        shutil.copy(source, folder / f"part{number}.mp4")
    (folder / "part1.mp4").write_text("no video")
    assert run(folder) == 2
    assert "part1.mp4 cannot be read" in capsys.readouterr().err
    assert run(folder, "--allow-failures") == 0
    assert "part1.mp4 cannot be read" in capsys.readouterr().err
    assert len(spans(tmp_path / "reel.csv")) == 2


def test_damage_is_told_and_the_rest_is_in_the_reel(run, tmp_path, capsys):
    """Red when a damaged stretch ends the work, or goes unmentioned."""
    path = render_white(tmp_path / "vod.mp4", 16, "-x264-params", "nal-hrd=cbr", "-b:v", "200k")
    content = bytearray(path.read_bytes())
    first, last = int(0.1 * len(content)), int(0.25 * len(content))
    content[first:last] = bytes(last - first)
    path.write_bytes(content)
    assert run(path) == 0
    assert "no picture from 00:00:0" in capsys.readouterr().out
    assert spans(tmp_path / "reel.csv") == [pytest.approx((5.75, 8.75), abs=0.6)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk(run, recording, tmp_path, capsys):
    (tmp_path / "reel.scores.csv.part").symlink_to("/dev/full")
    assert run(recording) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not (tmp_path / "reel.mp4").exists()


def test_annotate_draws_the_whole_recording(run, source, tmp_path):
    """Red when a picture is lost between two parts, or a score is drawn at another time."""
    folder = tmp_path / "vod"
    folder.mkdir()
    for number in range(2):
        args = ["-vf", "scale=320:240", "-c:v", "libx264", "-preset", "ultrafast"]
        ffmpeg("-i", str(source), *args, str(folder / f"part{number}.mp4"))
    out = tmp_path / "all.mp4"
    assert run(folder, "--annotate", out) == 0
    images, _ = read_images(out)
    assert len(images) == pytest.approx(2 * 16 * RATE, abs=2)
    white = images[75]
    assert white[-12:, :80].mean() < 150 < 200 < white[-12:, 84:].mean()
    colours = [images[round(time * RATE)] for time in (3, 7.5, 12, 23.5)]
    bars = [colour[-12:, :80].astype(int) for colour in colours]
    assert np.abs(bars[0] - bars[2]).mean() < 3
    assert np.abs(bars[1] - bars[3]).mean() < 3
    assert np.abs(bars[0] - bars[1]).mean() > 10
    assert not list(tmp_path.glob(".reel-*"))


def test_the_threshold_is_marked():
    from experiments.highlights.rendering.render import _image

    size = (80, 14)
    plain, marked = (
        np.frombuffer(_image(20, size, threshold), np.uint8).reshape(14, 80, 4)
        for threshold in (None, 0.75)
    )
    (columns,) = np.nonzero((plain != marked).any(axis=(0, 2)))
    assert list(columns) == [59]


def test_a_stop_leaves_nothing_but_scores(source, model, tmp_path, tmp_path_factory):
    """Red when ffmpeg outlives the command, a folder stays, or what was scored is lost."""
    command = ["-m", run_with_stand_in.__name__, 0, "run", source, "--model", model]
    command += ["-o", tmp_path / "reel.mp4", "--batch-size", 2]
    part = tmp_path / "reel.scores.csv.part"
    append = "experiments.highlights.scoring.kept_scores:KeptScores.append"
    held = start_held(tmp_path_factory.mktemp("hold"), command, after=append, call=3)
    held.wait_until_held()
    process = held.process
    process.send_signal(signal.SIGINT)
    _, output = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    wait_until_gone(process.pid)
    kept = len(part.read_text().splitlines()) - 1
    assert "Interrupted. The scores so far are kept; the same command goes on" in output
    assert "Traceback" not in output
    names = {path.name for path in tmp_path.iterdir()}
    shots_file = "reel.shots.npz"
    assert names == {"model", "reel.scores.csv.part", "reel.scores.json.part", shots_file}
    assert kept == 6
    again = processes.run(command)
    output = again.stdout
    assert again.returncode == 0
    assert f"Going on after {kept} scores" in output
    assert f"{32 - kept} pictures were scored" in output
    moments = kept_beside(tmp_path / "reel.scores.csv", read_recording([source]))
    assert moments.shots.get().cover(0.0, 16.0)


def test_a_real_scorer(run, model, scorer, tmp_path, monkeypatch, capsys):
    """Red when the model's own box, rate or threshold is not taken."""
    monkeypatch.undo()
    monkeypatch.setattr("experiments.process.runtime.configure", lambda threads, seed: None)
    import keras

    from experiments.clips.images import Box, ImageSettings
    from experiments.clips.scorer import write_scorer

    settings = ImageSettings(parts=("box",), side=16, fps=5.0)
    pixels = keras.Input(settings.frame_shape, dtype="uint8")
    bright = keras.ops.mean(keras.ops.cast(pixels, "float32"), axis=(1, 2, 3)) / 255
    outputs = keras.ops.stack([1 - bright, bright], axis=1)
    keras.Model(pixels, outputs).save(model / "best.keras")
    write_scorer(model, settings, box=Box(0.5, 0.25, 1.0, 0.75), threshold=0.6)
    assert run(render_white(tmp_path / "right.mp4", left=32)) == 0
    assert "threshold is 0.60" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "reel.scores.csv").open()))
    assert len(rows) == 80
    high = [float(row["time_seconds"]) for row in rows if float(row["probability"]) > 0.8]
    assert (min(high), max(high)) == pytest.approx(WHITE, abs=0.21)
