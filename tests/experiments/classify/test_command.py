"""The command as it is typed, right and wrong."""

from __future__ import annotations

import glob
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from pycocotools.coco import COCO

from experiments.classify import main, select_range
from experiments.media.videos import Video
from experiments.process import runtime
from preprocess.system import stopping
from tests import processes
from tests.experiments.classify.conftest import ffmpeg, read_rows, write_colours
from tests.grids import slow
from tests.hold import start_held
from tests.processes import PATIENCE_SECONDS
from weights import imagenet_classes

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def tensorflow_is_running(monkeypatch):
    """The tests' own process has its thread pools already."""
    monkeypatch.setattr(runtime, "configure", lambda threads, seed: None)
    monkeypatch.setattr(stopping, "answer_signals", lambda resume_hint: None)


@pytest.fixture
def args(model_file):
    labels = model_file.parent / "labels.txt"
    model = ["--model", str(model_file), "--labels", str(labels), "--scaling", "unit"]
    return [*model, "--batch-size", "8", "--top", "2"]


def test_a_folder(folder, args, tmp_path, capsys):
    out = tmp_path / "new" / "save"
    assert main(["-d", str(folder), "--out", str(out), *args]) == 1
    captured = capsys.readouterr()
    assert "1 of 5 videos failed or are incomplete" in captured.err
    assert "broken.mp4: not a video" in captured.out
    assert {path.name for path in out.iterdir()} == {
        f"{stem}{suffix}"
        for stem in ("-dash", "a b'c\"d", "long", "é,x")
        for suffix in (".csv", ".json", ".png")
    } | {"broken.json", "failures.csv"}
    assert [row["label_1"] for row in read_rows(out / "a b'c\"d.csv")] == (
        ["green"] * 5 + ["blue"] * 6
    )


def test_other_tools_read_the_classes(folder, args, tmp_path, capsys):
    """Red when a frame, its class or its video differs from the CSV's, or a class is read as a
    number: Arrow and COCO's own reader say what is there, and Label Studio's tasks have the class
    of each video. The second call, which has nothing to classify, writes the same."""
    numbers = tmp_path / "labels.txt"
    numbers.write_text("1\n02\nblue\nwhite\n")
    args = [str(numbers) if arg.endswith("labels.txt") else arg for arg in args]
    out = tmp_path / "out"
    call = ["-d", str(folder), "--out", str(out), "--no-timeline", *args]
    kinds = ["parquet", "coco", "label-studio"]
    written = []
    for _ in range(2):
        assert main([*call, "--formats", *kinds]) == 1
        written.append({path.name: path.read_bytes() for path in out.glob("predictions.*")})
    assert written[0] == written[1]
    rows = [
        (f"{stem}.mp4", float(row["time_seconds"]), row["label_1"], float(row["prob_1"]))
        for stem in ("-dash", "a b'c\"d", "long", "é,x")
        for row in read_rows(out / f"{stem}.csv")
    ]
    assert {row[2] for row in rows} == {"1", "02", "blue"}
    table = parquet.read_table(out / "predictions.parquet").to_pylist()
    names = ("video", "time_seconds", "label_1", "prob_1")
    assert [tuple(row[name] for name in names) for row in table] == rows

    coco = COCO(out / "predictions.coco.json")
    frames = [
        (
            coco.loadImgs(each["image_id"])[0]["file_name"],
            each["segment"],
            coco.loadCats(each["category_id"])[0]["name"],
            each["score"],
        )
        for each in coco.loadAnns(coco.getAnnIds())
    ]
    # 25 frames a second: each lasts 0.04 s.
    assert [(video, segment[0], *rest) for video, segment, *rest in frames] == rows
    lengths = [segment[1] - segment[0] for _, segment, *_ in frames]
    assert lengths == [pytest.approx(0.04)] * len(rows)
    durations = {each["file_name"]: each["duration"] for each in coco.dataset["images"]}
    assert durations["long.mp4"] == pytest.approx(60 / 25)

    tasks = json.loads((out / "predictions.label-studio.json").read_text())
    classes = {
        task["data"]["video"]: task["predictions"][0]["result"][0]["value"]["choices"]
        for task in tasks
    }
    assert classes["-dash.mp4"] == ["1"]
    assert classes["é,x.mp4"] == ["blue"]


def test_formats_need_times(folder, args, tmp_path, capsys):
    flags = ["--columns", "seed", "--formats", "coco", "--out", str(tmp_path / "out")]
    assert main(["-d", str(folder), *flags, "--model", args[1]]) == 2
    assert "--formats needs the times of --columns all" in capsys.readouterr().err


def test_the_first_command(tmp_path, capsys, monkeypatch):
    """-d alone, offline: red when it needs a file of weights, a download or a label file."""

    def no_network(*_, **__):
        pytest.fail("it wants to download something")

    monkeypatch.setattr("socket.socket.connect", no_network)
    write_colours(tmp_path / "v" / "x.mp4", ["red", "green"] * 4)
    command = ["-d", str(tmp_path / "v"), "--out", str(tmp_path / "o"), "--batch-size", "4"]
    assert main(command) == 0
    assert capsys.readouterr().out.startswith("efficientnet_lite0: ")
    rows = read_rows(tmp_path / "o" / "x.csv")
    names = {known.name for known in imagenet_classes()}
    assert len(rows) == 8
    assert {row[f"label_{place}"] for row in rows for place in range(1, 6)} <= names
    assert {path.name for path in (tmp_path / "o").iterdir()} == {"x.csv", "x.json", "x.png"}
    settings = json.loads((tmp_path / "o" / "x.json").read_text())["settings"]
    assert (settings["model"], settings["weights_sha256"][:8]) == ("efficientnet_lite0", "57934424")
    assert main(command) == 0
    assert capsys.readouterr().out == "1 of 1 videos were there already.\n"


def test_a_replaced_file_of_weights_is_refused_in_a_line(tmp_path, capsys, monkeypatch):
    """Red when bytes in the package's place are taken for the published weights."""
    monkeypatch.setattr("weights.registry.installed_file", lambda entry: tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes(b"PK other bytes")
    write_colours(tmp_path / "v" / "x.mp4", ["red"])
    assert main(["-d", str(tmp_path / "v"), "--out", str(tmp_path / "o")]) == 2
    error = capsys.readouterr().err
    assert "must have the sha256 checksum 57934424" in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "o" / "x.csv.part").exists()


def test_the_originals_flags(folder, args, tmp_path, monkeypatch):
    """-d, -r and save/: red when the range is not over the sorted videos."""
    monkeypatch.chdir(tmp_path)
    assert main(["-d", str(folder), "-r", "1 2", *args]) == 0
    assert [path.name for path in (tmp_path / "save").glob("*.csv")] == ["a b'c\"d.csv"]


def test_a_range_counts_mp4_alone(folder, args, tmp_path, capsys):
    """Red when -r takes other videos than the original, whose glob is *.mp4."""
    root, out = tmp_path / "v", tmp_path / "o"
    for name in ("a.avi", "b.mp4", "c.MP4", "d.mp4", "e.mkv"):
        write_colours(root / "red.mp4", ["red"] * 2).rename(root / name)
    expected = sorted(glob.glob(f"{root}/*.mp4"))[0:2]
    assert main(["-d", str(root), "-r", "0 2", "--out", str(out), *args]) == 0
    assert sorted(path.stem for path in out.glob("*.csv")) == [Path(p).stem for p in expected]
    assert "--range counts *.mp4 alone; 3 other videos are left out." in capsys.readouterr().out


def test_files_folders_and_patterns(args, tmp_path, capsys):
    """Red when one of them is refused, or a video that two of them name comes twice."""
    for name in ("a.mp4", "below/b.mp4", "below/c_left.avi", "below/notes.txt", "more/d.mp4"):
        path = write_colours(tmp_path / "made.mp4", ["red"] * 2)
        (tmp_path / "v" / name).parent.mkdir(parents=True, exist_ok=True)
        path.rename(tmp_path / "v" / name)
    names = ["v/a.mp4", "v/below", "v/*/*_left.*"]
    out = tmp_path / "o"
    paths = [str(tmp_path / name) for name in names]
    assert main([*args, *paths, "--out", str(out), "--one-csv"]) == 0
    assert sorted(path.name for path in out.glob("*.json")) == ["a.json", "b.json", "c_left.json"]
    assert "1 file is no video by its name: 1 .txt." in capsys.readouterr().out
    rows = read_rows(out / "all_videos.csv")
    assert [row["video"] for row in rows] == ["a.mp4"] * 2 + ["b.mp4"] * 2 + ["c_left.avi"] * 2
    assert list(rows[0])[:4] == ["video", "frame", "time_seconds", "label_1"]
    without = [{name: row[name] for name in row if name != "video"} for row in rows]
    assert without == [
        row for name in ("a", "b", "c_left") for row in read_rows(out / f"{name}.csv")
    ]


def test_a_model_of_fewer_than_five_classes(tmp_path, model_file):
    """Red when the usual number of classes a row is refused."""
    write_colours(tmp_path / "v" / "x.mp4", ["red"] * 3)
    labels = model_file.parent / "labels.txt"
    args = ["--model", str(model_file), "--labels", str(labels), "--batch-size", "8"]
    assert main([str(tmp_path / "v"), "--out", str(tmp_path / "o"), *args]) == 0
    (row, *_) = read_rows(tmp_path / "o" / "x.csv")
    assert [name for name in row if "label" in name] == [f"label_{n}" for n in (1, 2, 3, 4)]


def test_nothing_to_do_needs_no_model(tmp_path, args, capsys, monkeypatch):
    """Red when TensorFlow is started, or a model read, for videos that are done."""
    write_colours(tmp_path / "v" / "x.mp4", ["red"] * 3)
    command = [str(tmp_path / "v"), "--out", str(tmp_path / "o"), *args]
    assert main(command) == 0
    capsys.readouterr()
    check = f"import sys\nfrom experiments.classify import main\nassert main({command}) == 0\n"
    check += "assert not {'tensorflow', 'keras', 'matplotlib', 'av'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout == "1 of 1 videos were there already.\n"
    write_colours(tmp_path / "v" / "x.mp4", ["blue"] * 4)
    assert main(command) == 0
    assert "video_bytes, video_mtime_ns changed; starting over" in capsys.readouterr().out
    assert main([*command, "--annotate"]) == 0
    assert (tmp_path / "o" / "x.annotated.mp4").exists()


def test_what_cannot_be_read_is_not_tried_again(tmp_path, args, capsys, monkeypatch):
    """Red when TensorFlow is started for a video that could not be read and is as it was; or when
    that is not said, or --overwrite, another file, or a file that the system refused is not tried.
    """
    write_colours(tmp_path / "v" / "x.mp4", ["red"] * 3)
    (tmp_path / "v" / "broken.mp4").write_bytes(b"junk" * 40)
    out = tmp_path / "o"
    command = [str(tmp_path / "v"), "--out", str(out), *args]
    assert main(command) == 1
    assert "remain" not in capsys.readouterr().out
    (row,) = read_rows(out / "failures.csv")
    check = "import sys\nfrom experiments.classify import main\n"
    check += f"assert main({[*command, '--one-csv']}) == 1\n"
    check += "assert not {'tensorflow', 'keras', 'matplotlib', 'av'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[:2] == [
        "1 of 2 videos were there already.",
        "1 of 2 videos remains unreadable and unchanged; --overwrite tries again.",
    ]
    assert "1 of 2 videos failed or are incomplete" in done.stderr
    assert read_rows(out / "failures.csv") == [row]
    before = (out / "x.csv").stat().st_ino
    assert main([*command, "--overwrite"]) == 1
    output = capsys.readouterr().out
    assert "broken.mp4: not a video" in output
    assert "already" not in output
    assert (out / "x.csv").stat().st_ino != before
    write_colours(tmp_path / "v" / "broken.mp4", ["blue"] * 4)
    assert main(command) == 0
    assert [row["label_1"] for row in read_rows(out / "broken.csv")] == ["blue"] * 4
    assert not (out / "failures.csv").exists()


def test_what_the_system_refused_is_tried_again(tmp_path, args, capsys):
    """Red when a folder of frames that could not be opened once is given up for good, or ends all.

    A link to itself is refused to every user, root as well.
    """
    video = write_colours(tmp_path / "made.mp4", ["red"] * 2)
    (tmp_path / "v" / "clip").mkdir(parents=True)
    ffmpeg("-i", str(video), str(tmp_path / "v" / "clip" / "frame%06d.png"))
    frame, aside = tmp_path / "v" / "clip" / "frame000001.png", tmp_path / "aside.png"
    frame.rename(aside)
    frame.symlink_to(frame)
    write_colours(tmp_path / "v" / "x.mp4", ["blue"] * 3)
    command = [str(tmp_path / "v"), "--recursive", "--out", str(tmp_path / "o"), *args]
    assert main(command) == 1
    assert "symbolic links" in capsys.readouterr().out
    assert not (tmp_path / "o" / "clip.json").exists()
    assert len(read_rows(tmp_path / "o" / "x.csv")) == 3
    assert main(command) == 1
    assert "symbolic links" in capsys.readouterr().out
    frame.unlink()
    aside.rename(frame)
    assert main(command) == 0
    assert len(read_rows(tmp_path / "o" / "clip.csv")) == 2


def test_folders_of_frames_and_damage_on_the_way(tmp_path, args, capsys):
    """Red when a frame folder cannot be classified, or what is missing of it is not told."""
    video = write_colours(tmp_path / "made.mp4", ["red"] * 4 + ["blue"] * 4)
    (tmp_path / "v" / "clip").mkdir(parents=True)
    ffmpeg("-i", str(video), str(tmp_path / "v" / "clip" / "frame%06d.png"))
    (tmp_path / "v" / "clip" / "frame000002.png").unlink()
    out = tmp_path / "o"
    assert main([str(tmp_path / "v"), "--recursive", "--out", str(out), *args]) == 0
    rows = read_rows(out / "clip.csv")
    assert [row["label_1"] for row in rows] == ["red"] * 3 + ["blue"] * 4
    assert "clip: no frames of number 2" in capsys.readouterr().out


COVER = ROOT.parent / "shared" / "clips" / "reported" / "audio_cover.mp4"


@pytest.mark.skipif(not COVER.exists(), reason="needs the clips in ../shared/clips/reported")
def test_a_cover_picture_is_no_video(tmp_path, args, capsys):
    """Red when sound with a cover picture counts as a clip of one frame, or stops the others."""
    write_colours(tmp_path / "v" / "x.mp4", ["red"] * 3)
    (tmp_path / "v" / "cover.mp4").symlink_to(COVER)
    assert main([str(tmp_path / "v"), "--out", str(tmp_path / "o"), *args]) == 1
    assert "cover.mp4: no video, only a cover picture" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "o").glob("*.csv")} == {"x.csv", "failures.csv"}


@given(st.integers(1, 9), st.integers(0, 12), st.integers(0, 12), st.sampled_from([" ", "  ", ","]))
def test_a_range_is_a_slice(number, start, end, between):
    """Red when the end is included, or a range beyond the last video is empty without a word."""
    videos = [Video(Path(f"{n}.mp4"), str(n), str(n)) for n in range(number)]
    text = f"{start}{between}{end}"
    if start < min(end, number):
        assert select_range(videos, text) == videos[start:end]
    else:
        with pytest.raises(ValueError, match="--range"):
            select_range(videos, text)


@pytest.mark.parametrize("text", ["", "1", "a b", "-1 3", "1 2 3", "1.5 2"])
def test_other_texts_are_no_range(text):
    with pytest.raises(ValueError, match="--range must be"):
        select_range([Video(Path("a.mp4"), "a", "a")], text)


def test_annotate_after_the_fact(tmp_path, args):
    write_colours(tmp_path / "v" / "x.mp4", ["red"] * 4)
    command = ["-d", str(tmp_path / "v"), "--out", str(tmp_path / "o"), *args]
    assert main(command) == 0
    assert not (tmp_path / "o" / "x.annotated.mp4").exists()
    assert main([*command, "--annotate"]) == 0
    assert (tmp_path / "o" / "x.annotated.mp4").exists()


def test_a_full_disk_is_told_in_a_line(tmp_path, args, capsys, monkeypatch):
    """Red when it ends in a traceback, or a second run does not go on."""
    from common.errors import WriteError
    from experiments.clips.classification.results import Table

    def full(table, rows):
        raise WriteError("No space left on device")

    write_colours(tmp_path / "v" / "x.mp4", ["red"] * 20)
    command = ["-d", str(tmp_path / "v"), "--out", str(tmp_path / "o"), *args]
    with monkeypatch.context() as patch:
        patch.setattr(Table, "append", full)
        assert main(command) == 2
    assert "Cannot write to" in capsys.readouterr().err
    assert main(command) == 0
    assert len(read_rows(tmp_path / "o" / "x.csv")) == 20


def test_a_copy_that_cannot_be_drawn_costs_itself_alone(tmp_path, args, monkeypatch, capsys):
    """Red when the videos after it are not classified."""
    from common.errors import WriteError
    from experiments.clips.classification import job

    def broken(path, rows, out):
        raise WriteError("could not be encoded")

    monkeypatch.setattr(job, "draw_video", broken)
    for name in "ab":
        write_colours(tmp_path / "v" / f"{name}.mp4", ["red"] * 9)
    assert main(["-d", str(tmp_path / "v"), "--out", str(tmp_path / "o"), "--annotate", *args]) == 1
    assert "could not be encoded" in capsys.readouterr().out
    assert len(read_rows(tmp_path / "o" / "b.csv")) == 9


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "Name what to classify: videos, folders"),
        (["-d", "nowhere"], "no video or folder nowhere"),
        (["-d", "empty"], "No videos found in empty"),
        (["-d", "v", "-r", "5 2"], "START below END"),
        (["-d", "v", "-r", "7 9"], "begins at video 7, but there are 1 called *.mp4"),
        (["v/x.avi", "-r", "0 1"], "begins at video 0, but there are 0 called *.mp4"),
        (["none*.mp4"], "no video or folder that matches none*.mp4"),
        (["-d", "v", "--top", "0"], "--top must be at least 1"),
        (["-d", "v", "--top", "9"], "--top must be at most the 4 classes"),
        (["-d", "v", "--threads", "many"], "--threads must be auto"),
        (["-d", "v", "--columns", "seed", "--top", "3"], "--columns seed means 5 classes"),
        (["-d", "v", "--labels", "empty.txt"], "--labels must hold a name a line"),
        (["-d", "v", "--model", "moblenet"], "Did you mean mobilenet?"),
        (["v", "--model", "vgg16", "--scaling", "none", "-w", "v/x.avi"], "must end in .npy"),
        (["-d", "v", "--alpha", "0"], "--alpha must be greater than 0"),
        (["-d", "v", "--annotate"], "Annotated videos need an ffmpeg"),
        (["-d", "v", "--out", "v/x.mp4"], "Cannot write to v/x.mp4"),
        (["-d", "v", "--policy", "mixed_bfloat16"], "holds its own arithmetic"),
        (["--export", "x.bin"], "must name a file that ends in .onnx"),
    ],
)
def test_wrong_commands_get_one_line(tmp_path, monkeypatch, capsys, args, wrong, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("\n")
    write_colours(tmp_path / "v" / "x.mp4", ["red"])
    (tmp_path / "v" / "x.avi").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "no-ffmpeg"))
    late = lambda *_, **__: pytest.fail("refused too late")  # noqa: E731
    monkeypatch.setattr("experiments.models.image_loading.load_model", late)
    assert main([*args, *wrong]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_export_then_classify(folder, args, tmp_path, capsys):
    """Red when ONNX Runtime's labels or probabilities are not Keras's."""
    assert main([*args, "--export", str(tmp_path / "m.onnx")]) == 0
    assert "probabilities within" in capsys.readouterr().out
    plain, onnx = tmp_path / "keras", tmp_path / "onnx"
    main(["-d", str(folder), "--out", str(plain), *args])
    main(["-d", str(folder), "--out", str(onnx), "--model", str(tmp_path / "m.onnx"), "--top", "2"])
    for ours, theirs in zip(
        read_rows(plain / "long.csv"), read_rows(onnx / "long.csv"), strict=True
    ):
        assert ours["label_1"] == theirs["label_1"]
        assert float(ours["prob_1"]) == pytest.approx(float(theirs["prob_1"]), abs=1e-4)


@pytest.fixture(scope="module")
def undisturbed(model_file, tmp_path_factory):
    """A command up to its folder of results, and the results of a run that nobody stopped."""
    root = tmp_path_factory.mktemp("undisturbed")
    write_colours(root / "v" / "x.mp4", ["red", "green", "blue"] * 200)
    labels = model_file.parent / "labels.txt"
    model = ["--model", model_file, "--labels", labels, "--scaling", "unit", "--batch-size", 8]
    command = ["-m", "experiments.classify", "-d", root / "v", *model, "--top", 2]
    command += ["--no-timeline", "--out"]
    assert processes.run([*command, root / "whole"]).returncode == 0
    return command, root / "whole"


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL, *slow(signal.SIGTERM)])
def test_stopped_from_outside(tmp_path, undisturbed, stop):
    """Red when a signal leaves processes or half files, or the next run gives other rows."""
    command, whole = undisturbed
    part = tmp_path / "stopped" / "x.csv.part"
    append = "experiments.clips.classification.results:Table.append"
    held = start_held(tmp_path / "hold", [*command, part.parent], after=append, call=9)
    held.wait_until_held()
    assert len(part.read_text().splitlines()) == 1 + 9 * 8
    run = held.process
    run.send_signal(stop)
    _, output = run.communicate(timeout=PATIENCE_SECONDS)
    if stop is not signal.SIGKILL:
        assert run.returncode == 130
        assert output.strip().endswith("the same command goes on from there.")
        assert "Traceback" not in output
    assert not (part.parent / "x.csv").exists()
    again = processes.run([*command, part.parent])
    assert "going on after" in again.stdout
    for name in ("x.csv", "x.json"):
        assert (part.parent / name).read_bytes() == (whole / name).read_bytes()
