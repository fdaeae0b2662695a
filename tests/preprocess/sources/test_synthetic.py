"""The demo set: real MPEG-1 files whose class only the order of the frames tells."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import LeaveOneGroupOut, StratifiedKFold, cross_val_score

from common.errors import WriteError
from preprocess.errors import PreprocessError
from preprocess.sources import synthetic
from preprocess.sources.clips import find_clips
from preprocess.sources.synthetic import (
    CLASS_NAMES,
    HEIGHT,
    WIDTH,
    ClipPlan,
    clip_path,
    plan_clip,
    render_background,
    render_dataset,
    trajectory,
)

NUM_GROUPS, NUM_CLIPS = 2, 2  # of the set most tests look at; 11 x 2 x 2 = 44 clips
LARGE = 3, 4  # of the set that says what can be learned; 132 clips
CHANCE = 1 / len(CLASS_NAMES)


@dataclass(frozen=True)
class Decoded:
    """A clip as OpenCV reads it back."""

    class_name: str
    group: int
    plan: ClipPlan
    frames: np.ndarray  # uint8 RGB (T, 240, 320, 3)


def decode(path: Path) -> np.ndarray:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    return np.array(frames)


def every_clip(groups: int, clips: int) -> Iterator[tuple[str, int, int]]:
    for class_name in CLASS_NAMES:
        for group in range(1, groups + 1):
            for clip in range(1, clips + 1):
                yield class_name, group, clip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo")
    render_dataset(root, groups_per_class=NUM_GROUPS, clips_per_group=NUM_CLIPS, progress=False)
    return root


@pytest.fixture(scope="module")
def coarse(root: Path) -> list[Decoded]:
    """Every clip, its frames shrunk to 32x24 pixels."""
    return shrunk(root, NUM_GROUPS, NUM_CLIPS)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[Decoded]:
    """Every clip of the large set, its frames shrunk to 32x24 pixels."""
    root = tmp_path_factory.mktemp("large")
    groups, clips = LARGE
    render_dataset(root, groups_per_class=groups, clips_per_group=clips, progress=False)
    return shrunk(root, groups, clips)


def shrunk(root: Path, num_groups: int, num_clips: int) -> list[Decoded]:
    clips = []
    for class_name, group, clip in every_clip(num_groups, num_clips):
        frames = decode(clip_path(root, class_name, group, clip))
        small = np.array([cv2.resize(f, (32, 24), interpolation=cv2.INTER_AREA) for f in frames])
        clips.append(Decoded(class_name, group, plan_clip(class_name, group, clip), small))
    return clips


def ball_positions(frames: np.ndarray) -> np.ndarray:
    """Where the brightest moving thing is in each frame: (T, 2) x, y in pixels."""
    grey = frames.astype(float).sum(axis=-1)
    above = grey - np.median(grey, axis=0)
    above = np.maximum(above - 0.5 * above.max(axis=(1, 2), keepdims=True), 0)
    total = above.sum(axis=(1, 2))
    x = (above.sum(axis=1) * (np.arange(frames.shape[2]) + 0.5)).sum(axis=1) / total
    y = (above.sum(axis=2) * (np.arange(frames.shape[1]) + 0.5)).sum(axis=1) / total
    return np.stack([x, y], axis=-1)


def read_class(positions: np.ndarray) -> str:
    """The class by the words of its definition: the order of the loops, the turn in each."""
    offset = positions - positions.mean(axis=0)  # from where the loops meet
    far = np.hypot(*offset.T) > 0.5 * np.hypot(*offset.T).max()
    degrees = np.degrees(np.arctan2(offset[:, 0], -offset[:, 1]))  # 0 is up, 90 is right
    loop = np.round(degrees / 120).astype(int) % 3  # top, right, left
    centres = [offset[far & (loop == k)].mean(axis=0) for k in range(3)]
    turned, went_right = np.zeros(3), 0
    for now, then in pairwise(np.flatnonzero(far)):
        if loop[now] != loop[then]:
            went_right += 1 if (loop[then] - loop[now]) % 3 == 1 else -1
        elif then == now + 1:
            (x0, y0), (x1, y1) = offset[[now, then]] - centres[loop[now]]
            turned[loop[now]] += x0 * y1 - y0 * x1  # positive is clockwise, for y points down
    turns = "".join("c" if turn > 0 else "a" for turn in turned)
    return f"{'right' if went_right > 0 else 'left'}_{turns}"


def bag_of_frames(frames: np.ndarray, *, raw: bool = False) -> np.ndarray:
    """What a pixel's values over a clip tell when their order is forgotten."""
    values = frames.mean(axis=-1).reshape(len(frames), -1)
    values = values if raw else values - values.mean(axis=0)
    return np.percentile(values, (0, 10, 25, 50, 75, 90, 100), axis=0).ravel()


def forest_accuracy(features: np.ndarray, classes: list[str], splits, **options) -> float:
    forest = ExtraTreesClassifier(100, min_samples_leaf=2, random_state=0)
    return cross_val_score(forest, features, classes, cv=splits, **options).mean()


@pytest.mark.parametrize("seed", [0, 7])
def test_classes_show_the_same_frames_in_orders_of_their_own(seed: int) -> None:
    for class_name, group, clip in every_clip(2, 4):
        plan = plan_clip(class_name, group, clip, seed=seed)
        paths = [trajectory(name, plan) for name in CLASS_NAMES]
        bags = {tuple(sorted(map(tuple, path))) for path in paths}
        assert len(bags) == 1  # exact: not a bit of a float differs
        assert len({path.tobytes() for path in paths}) == len(CLASS_NAMES)


def test_plans_of_all_classes_come_from_one_distribution() -> None:
    """Means over 400 plans agree within 5 standard errors, for each class and quantity."""
    drawn = np.array(
        [
            [_quantities(plan_clip(name, 1 + clip % 20, clip)) for clip in range(400)]
            for name in CLASS_NAMES
        ]
    )  # (11, 400, quantities)
    error = drawn.std(axis=(0, 1)) * np.sqrt(1 / 400)
    assert (np.abs(drawn.mean(axis=1) - drawn.mean(axis=(0, 1))) < 5 * error).all()


def _quantities(plan: ClipPlan) -> list[float]:
    cycle_share = plan.start_frame / plan.num_frames
    visits = np.array(plan.visit_frames)
    uneven = (visits - visits.mean()).mean(axis=0)
    return [plan.num_frames, cycle_share, len(visits), *uneven, *plan.centre, plan.loop_radius,
            plan.ball_radius, *plan.ball_rgb]  # fmt: skip


def test_lengths_are_mostly_short() -> None:
    lengths = [plan_clip(*which).num_frames for which in every_clip(8, 8)]
    assert 40 <= min(lengths) < 45
    assert 60 <= np.median(lengths) <= 80
    assert 200 < max(lengths) <= 250


def test_the_ball_moves_smoothly_and_stays_in_view() -> None:
    for class_name, group, clip in every_clip(8, 8):
        plan = plan_clip(class_name, group, clip)
        path = trajectory(class_name, plan)
        steps = np.hypot(*np.diff(path, axis=0).T)
        assert len(plan.visit_frames) >= 2
        assert np.median(steps) < 2 * plan.ball_radius  # it overlaps its last place
        assert steps.max() < 2.7 * plan.ball_radius
        assert (path > plan.ball_radius - 3).all()
        assert (path < np.array([WIDTH, HEIGHT]) - plan.ball_radius + 3).all()


def test_files_are_mpeg1_of_the_planned_length_in_the_layout_of_ucf11(root: Path) -> None:
    for class_name, group, clip in every_clip(NUM_GROUPS, NUM_CLIPS):
        folder = f"v_{class_name}_{group:02d}"
        path = root / class_name / folder / f"{folder}_{clip:02d}.mpg"
        plan = plan_clip(class_name, group, clip)
        head = path.read_bytes()[:5]
        assert head[:4] == b"\x00\x00\x01\xba"  # a program stream's pack ...
        assert head[4] >> 4 == 0b0010  # ... of MPEG-1; of MPEG-2 it would be 01xx
        capture = cv2.VideoCapture(str(path))
        assert int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little") == b"mpg1"
        assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(plan.fps, abs=0.01)
        assert sum(iter(capture.grab, False)) == plan.num_frames
        assert capture.get(cv2.CAP_PROP_FRAME_WIDTH) == WIDTH
        assert capture.get(cv2.CAP_PROP_FRAME_HEIGHT) == HEIGHT


def test_the_folder_holds_the_clips_a_stamp_a_lock_and_nothing_else(root: Path) -> None:
    clips = find_clips(root)
    assert len(clips) == len(CLASS_NAMES) * NUM_GROUPS * NUM_CLIPS
    assert {clip.class_name for clip in clips} == set(CLASS_NAMES)
    assert len({clip.group for clip in clips}) == len(CLASS_NAMES) * NUM_GROUPS
    others = {path for path in root.rglob("*") if path.is_file()} - {clip.path for clip in clips}
    assert others == {root / synthetic.STAMP_NAME, root / ".lock"}


def test_the_ball_is_where_the_trajectory_says(root: Path) -> None:
    for class_name in CLASS_NAMES[::4]:
        found = ball_positions(decode(clip_path(root, class_name, 1, 1)))
        expected = trajectory(class_name, plan_clip(class_name, 1, 1))
        pull = np.median(found - expected, axis=0)  # the ball's lit side is up left
        assert np.hypot(*pull) < 8
        assert np.hypot(*(found - expected - pull).T).max() < 4


def test_the_ball_stands_out_at_the_size_models_see(root: Path) -> None:
    for class_name, group, clip in every_clip(NUM_GROUPS, 1):
        frame = decode(clip_path(root, class_name, group, clip))[0]
        x, y = trajectory(class_name, plan_clip(class_name, group, clip))[0] / 2
        small = cv2.resize(frame, (160, 120)).mean(axis=-1)
        assert small[int(y), int(x)] > np.percentile(small, 80) + 40


def test_a_background_belongs_to_one_group(root: Path) -> None:
    backgrounds = {}
    for class_name in CLASS_NAMES:
        for group in range(1, 9):
            backgrounds[class_name, group] = render_background(class_name, group).astype(float)
    for (class_name, group), image in list(backgrounds.items())[::16]:
        for clip in (1, NUM_CLIPS):
            frames = decode(clip_path(root, class_name, group, clip))
            seen = np.median(frames[::4], axis=0)
            assert np.median(np.abs(seen - image)) < 3
    images = np.array([image[::8, ::8].ravel() for image in backgrounds.values()])
    gaps = [np.abs(a - b).mean() for i, a in enumerate(images) for b in images[:i]]
    assert min(gaps) > 5


def test_the_order_of_the_frames_tells_the_class(coarse: list[Decoded]) -> None:
    read = [read_class(ball_positions(clip.frames)) for clip in coarse]
    assert np.mean([name == clip.class_name for name, clip in zip(read, coarse, strict=True)]) > 0.9


# That all classes show the same frames, to the bit, is what the first test of this file says.
@pytest.mark.slow
def test_the_bag_of_frames_does_not_tell_the_class(many: list[Decoded]) -> None:
    classes, groups = [c.class_name for c in many], [c.group for c in many]
    bags = np.array([bag_of_frames(clip.frames) for clip in many])
    held_out = forest_accuracy(bags, classes, LeaveOneGroupOut(), groups=groups)
    assert held_out < CHANCE + 0.1  # 4 standard errors of 132 guesses
    raw = np.array([bag_of_frames(clip.frames, raw=True) for clip in many])
    by_heart = forest_accuracy(raw, classes, StratifiedKFold(3, shuffle=True, random_state=0))
    assert by_heart > 0.9  # the forest is no fool: where groups leak, it knows the backgrounds


@pytest.mark.slow
def test_one_frame_does_not_tell_the_class(many: list[Decoded]) -> None:
    """A forest that learned on each sixth frame of each clip guesses on those of other groups."""
    features, classes, groups = [], [], []
    for clip in many:
        chosen = clip.frames[::6].mean(axis=-1) - clip.frames.mean(axis=(0, -1))
        features += list(chosen.reshape(len(chosen), -1))
        classes += [clip.class_name] * len(chosen)
        groups += [clip.group] * len(chosen)
    accuracy = forest_accuracy(np.array(features), classes, LeaveOneGroupOut(), groups=groups)
    assert accuracy < CHANCE + 0.06


def test_the_codec_leaves_no_trail_of_the_ball(root: Path) -> None:
    """Within half a grey level, the background looks alike where the ball was and will be."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    was, will_be = [], []
    for class_name in CLASS_NAMES[::4]:
        plan = plan_clip(class_name, 2, 2)
        frames = decode(clip_path(root, class_name, 2, 2)).mean(axis=-1)
        change = frames - render_background(class_name, 2).mean(axis=-1)
        away = np.array([np.hypot(x - u, y - v) for u, v in trajectory(class_name, plan)])
        ball, near = away < plan.ball_radius, away < plan.ball_radius + 25  # 25 for the shadow
        now = ~near[1:-1]
        was += list(change[1:-1][now & ball[:-2] & ~near[2:]])
        will_be += list(change[1:-1][now & ball[2:] & ~near[:-2]])
    assert min(len(was), len(will_be)) > 10_000  # pixels
    assert abs(np.mean(was) - np.mean(will_be)) < 0.5


def test_same_seed_same_bytes_with_any_number_of_jobs(tmp_path: Path) -> None:
    for jobs in (1, 2):
        folder = tmp_path / str(jobs)
        render_dataset(folder, groups_per_class=1, clips_per_group=1, jobs=jobs, progress=False)
    paths = sorted(p.relative_to(tmp_path / "1") for p in (tmp_path / "1").rglob("*.mpg"))
    assert len(paths) == len(CLASS_NAMES)
    for path in paths:
        assert (tmp_path / "1" / path).read_bytes() == (tmp_path / "2" / path).read_bytes()


def test_another_seed_draws_another_set() -> None:
    assert plan_clip("left_aaa", 1, 1, seed=1) != plan_clip("left_aaa", 1, 1, seed=0)
    images = [render_background("left_aaa", 1, seed=seed) for seed in (0, 1)]
    assert not np.array_equal(*images)


def test_a_second_run_writes_only_what_is_missing(root: Path) -> None:
    gone = clip_path(root, "right_ccc", 2, 1)
    content = gone.read_bytes()
    gone.unlink()
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.mpg")}
    render_dataset(root, groups_per_class=NUM_GROUPS, clips_per_group=NUM_CLIPS, progress=False)
    assert gone.read_bytes() == content
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_an_interrupted_write_leaves_no_file(tmp_path: Path, monkeypatch) -> None:
    def fail(source: Path, target: Path) -> None:
        if target.suffix == ".mpg":
            raise OSError(28, "No space left on device")
        source.rename(target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(WriteError, match="No space left"):
        render_dataset(tmp_path, groups_per_class=1, clips_per_group=1, jobs=1, progress=False)
    assert not list((tmp_path / "left_aaa" / "v_left_aaa_01").iterdir())


def test_a_clip_that_lacks_frames_is_refused(tmp_path: Path, monkeypatch) -> None:
    def all_but_one(*args) -> Iterator[np.ndarray]:
        return iter(list(frames(*args))[1:])

    frames = synthetic._frames
    monkeypatch.setattr(synthetic, "_frames", all_but_one)
    with pytest.raises(PreprocessError, match=r"must hold \d+ frames"):
        render_dataset(tmp_path, groups_per_class=1, clips_per_group=1, jobs=1, progress=False)
    assert not list(tmp_path.rglob("*.mpg"))


def test_a_folder_is_not_shared(tmp_path: Path) -> None:
    (tmp_path / "seven").mkdir()
    stamp = {"renderer_version": synthetic.RENDERER_VERSION, "seed": 7}
    (tmp_path / "seven" / synthetic.STAMP_NAME).write_text(json.dumps(stamp))
    with pytest.raises(PreprocessError, match="delete it or name another"):
        render_dataset(tmp_path / "seven", seed=0)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "holiday.mpg").touch()
    with pytest.raises(PreprocessError, match="a folder of its own"):
        render_dataset(tmp_path / "mine")
    with pytest.raises(WriteError, match=r"holiday\.mpg"):
        render_dataset(tmp_path / "mine" / "holiday.mpg")


@pytest.mark.parametrize(
    ("option", "value"),
    [("groups_per_class", 0), ("clips_per_group", 100), ("seed", -1), ("jobs", 0)],
)
def test_arguments_out_of_range_are_named(tmp_path: Path, option: str, value: int) -> None:
    with pytest.raises(PreprocessError, match=rf"{option} must be .* Received {value}\."):
        render_dataset(tmp_path, **{option: value})
    assert not list(tmp_path.iterdir())


def test_it_is_silent_when_asked_to_be(tmp_path: Path, capfd) -> None:
    render_dataset(tmp_path, groups_per_class=1, clips_per_group=1, jobs=1, progress=False)
    assert capfd.readouterr() == ("", "")
    render_dataset(tmp_path, groups_per_class=1, clips_per_group=1, jobs=1)
    assert "11/11" in capfd.readouterr().err
