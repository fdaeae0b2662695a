"""The built-in demo set: MPEG-1 files in the UCF11 layout whose classes differ by motion alone.

A ball runs along a trefoil: three loops, *top*, *right* and *left*, that meet in one point, where
it slows down. A class says in which order the loops are taken and which way round each is run. Its
name spells that out: ``right_cca`` takes them to the right (top, right, left) and runs the top and
the right loop clockwise, the left one anticlockwise; ``left_...`` takes them top, left, right.

**Shuffled frames cannot tell the class, exactly.** A clip's plan (`plan_clip`) is drawn without
knowing the class: length, speed, place, colour, size, and how many frames each visit to each loop
takes. A class only re-orders those frames: it permutes the visits of each cycle and plays a visit
forwards or backwards. Clips hold whole cycles, and a random start turns the clip round like a
wheel, which re-orders it once more. So clip ``MM`` of group ``NN`` shows the same ball at the same
positions, each as often, in all eleven classes; no single frame, no average and no bag of frames
knows more. What is left is the background, a still picture of each (class, group): who learns it
by heart is right on the training groups and at chance on the others.
"""

import colorsys
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import joblib
import numpy as np
from tqdm import tqdm

CLASS_NAMES = (
    "left_aaa",
    "left_aac",
    "left_aca",
    "left_caa",
    "left_ccc",
    "right_aaa",
    "right_aac",
    "right_acc",
    "right_cac",
    "right_cca",
    "right_ccc",
)

WIDTH, HEIGHT = 320, 240  # pixels
MIN_FRAMES, MAX_FRAMES = 40, 250
NUM_LOOPS = 3  # top, right, left: 120 degrees apart, clockwise on the screen
STAMP_NAME = "synthetic.json"
RENDERER_VERSION = 1  # raise when the same seed draws other pictures

_VISITS = {"right": (0, 1, 2), "left": (0, 2, 1)}
_PLAN_STREAM, _GROUP_STREAM, _BACKGROUND_STREAM = range(3)
_SPRITE_MARGIN = 48  # pixels; half a sprite, and the border that lets it overlap the frame's edge


@dataclass(frozen=True)
class ClipPlan:
    """What a clip shows, whatever its class. Lengths in pixels, times in frames.

    `visit_frames[j][k]` is how long the visit to loop k takes in cycle j; the sum over all is
    the clip's length. `start_frame` is where in the first cycle the clip begins.
    """

    fps: float
    visit_frames: tuple[tuple[int, ...], ...]  # (cycles, NUM_LOOPS)
    start_frame: int
    centre: tuple[float, float]  # x, y of the point where the loops meet
    loop_radius: float
    ball_radius: float
    ball_rgb: tuple[float, float, float]  # 0 to 255

    @property
    def num_frames(self) -> int:
        """The clip's length in frames."""
        return sum(map(sum, self.visit_frames))


def plan_clip(group: int, clip: int, *, seed: int = 0) -> ClipPlan:
    """Draw the plan of clip `clip` of group `group`: the same one in every class.

    Args:
        group: number of the group, from 1.
        clip: number of the clip in its group, from 1.
        seed: seed of the whole data set, 0 or more.

    Returns:
        The plan, of 40 to 250 frames (median about 70) at 25 or 29.97 frames a second.
    """
    rng = np.random.default_rng((seed, _PLAN_STREAM, group, clip))
    group_rng = np.random.default_rng((seed, _GROUP_STREAM, group))
    num_frames = int(np.clip(MIN_FRAMES + rng.lognormal(np.log(28), 0.8), 0, MAX_FRAMES))
    return ClipPlan(
        fps=float(group_rng.choice((25.0, 29.97))),
        visit_frames=_split_frames(num_frames, rng.uniform(7.2, 11.5), rng),
        start_frame=int(rng.integers(num_frames)),
        centre=(rng.uniform(0.44, 0.56) * WIDTH, rng.uniform(0.49, 0.59) * HEIGHT),
        loop_radius=rng.uniform(39, 46),
        ball_radius=rng.uniform(23, 30),
        ball_rgb=_ball_rgb(rng),
    )


def trajectory(class_name: str, plan: ClipPlan) -> np.ndarray:
    """Where the ball is in each frame of the clip that `class_name` makes of `plan`.

    For one plan, all classes return the same rows, bit for bit, in another order.

    Returns:
        Positions (num_frames, 2), float64: x and y of the ball's centre in pixels of the
        320x240 frame, y down.
    """
    visits, turns = class_name.split("_")
    paths = [
        _loop(loop, cycle[loop], plan.loop_radius)[:: 1 if turns[loop] == "c" else -1]
        for cycle in plan.visit_frames
        for loop in _VISITS[visits]
    ]
    positions = np.concatenate(paths) + plan.centre  # (T, 2)
    return np.roll(positions, -plan.start_frame, axis=0)


def clip_path(root: Path, class_name: str, group: int, clip: int) -> Path:
    """The file of a clip: `class/v_class_NN/v_class_NN_MM.mpg`."""
    folder = f"v_{class_name}_{group:02d}"
    return root / class_name / folder / f"{folder}_{clip:02d}.mpg"


def render_dataset(
    root: Path,
    *,
    groups_per_class: int = 8,
    clips_per_group: int = 8,
    seed: int = 0,
    jobs: int | None = None,
    progress: bool = True,
) -> None:
    """Write the demo set under `root`: 11 x groups x clips MPEG-1 files of 320x240 pixels.

    The same arguments give the same bytes whatever `jobs` is. A file appears under its name only
    when it is complete, and a second run writes what is missing.

    Args:
        root: folder to fill; made when absent.
        groups_per_class: groups (backgrounds) a class, 1 to 99.
        clips_per_group: clips a group, 1 to 99.
        seed: 0 or more; another seed draws another data set.
        jobs: worker processes; None takes all cores this process may use.
        progress: whether to show a bar, with the time left, on stderr.

    Raises:
        ValueError: an argument is out of range, or `root` holds the demo set of another seed.
        RuntimeError: OpenCV cannot encode MPEG-1, or an encoded file lacks frames.
        OSError: `root` cannot be written.
    """
    root = Path(root)
    _check_arguments(groups_per_class, clips_per_group, seed, jobs)
    _stamp(root, seed)
    tasks = [
        joblib.delayed(_render_group)(root, name, group, clips_per_group, seed)
        for name in CLASS_NAMES
        for group in range(1, groups_per_class + 1)
    ]
    workers = joblib.Parallel(n_jobs=jobs or joblib.cpu_count(), return_as="generator_unordered")
    total = len(tasks) * clips_per_group
    with tqdm(total=total, desc="demo set", unit="clip", disable=not progress) as bar:
        for num_clips in workers(tasks):
            bar.update(num_clips)


def render_background(class_name: str, group: int, *, seed: int = 0) -> np.ndarray:
    """The still picture behind the clips of one group.

    Returns:
        uint8 RGB (240, 320, 3), darker than any ball.
    """
    index = CLASS_NAMES.index(class_name)
    rng = np.random.default_rng((seed, _BACKGROUND_STREAM, index, group))
    base, tint, spot = rng.uniform(30, 120, (3, 3))  # three RGB colours
    clouds = _clouds(rng, (3, 6, 12, 24))[..., None]  # (H, W, 1)
    spots = np.clip(4 * _clouds(rng, (5, 10)) - 2, 0, 1)[..., None]
    grain = 18 * (_clouds(rng, (60, 120)) - 0.5)[..., None]
    picture = base + (tint - base) * clouds
    picture = picture + 0.7 * spots * (spot - picture) + grain
    return np.clip(picture, 0, 140).astype(np.uint8)


def _check_arguments(groups: int, clips: int, seed: int, jobs: int | None) -> None:
    for name, value in (("groups_per_class", groups), ("clips_per_group", clips)):
        if not 1 <= value <= 99:
            raise ValueError(f"{name} must be 1 to 99 (two digits in a name). Received {value}.")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more. Received {seed}.")
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be 1 or more, or None for all cores. Received {jobs}.")


def _stamp(root: Path, seed: int) -> None:
    """Mark `root` with what fills it, and refuse to mix two data sets in one folder."""
    root.mkdir(parents=True, exist_ok=True)
    wanted = {"renderer_version": RENDERER_VERSION, "seed": seed}
    path = root / STAMP_NAME
    if not path.exists():
        _write_complete(path, json.dumps(wanted).encode())
    found = json.loads(path.read_text())
    if found != wanted:
        raise ValueError(
            f"A folder holds one demo set. {root} holds {found}, wanted {wanted}; "
            "delete it or name another folder."
        )


def _split_frames(
    num_frames: int, frames_per_loop: float, rng: np.random.Generator
) -> tuple[tuple[int, ...], ...]:
    """Whole cycles of visits of nearly equal lengths that add up to `num_frames`."""
    num_cycles = max(1, round(num_frames / (NUM_LOOPS * frames_per_loop)))
    visits = np.full(num_cycles * NUM_LOOPS, num_frames // (num_cycles * NUM_LOOPS))
    longer = rng.permutation(len(visits))[: num_frames - visits.sum()]
    visits[longer] += 1
    return tuple(map(tuple, visits.reshape(num_cycles, NUM_LOOPS).tolist()))


def _ball_rgb(rng: np.random.Generator) -> tuple[float, float, float]:
    """A bright colour of any hue."""
    red, green, blue = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.1, 0.45), 1.0)
    brightness = rng.uniform(225, 255)
    return red * brightness, green * brightness, blue * brightness


def _loop(loop: int, num_frames: int, radius: float) -> np.ndarray:
    """One clockwise round of a loop, slower where the loops meet: (num_frames, 2) x, y."""
    time = (np.arange(num_frames) + 0.5) / num_frames
    swept = 2 * np.pi * time - 0.7 * np.sin(2 * np.pi * time)
    outwards = 2 * np.pi * loop / NUM_LOOPS - np.pi / 2  # the loop's direction; y is down
    angle = outwards + np.pi + swept
    x = np.cos(outwards) + np.cos(angle)
    y = np.sin(outwards) + np.sin(angle)
    return radius * np.stack([x, y], axis=-1)


def _clouds(rng: np.random.Generator, cells: tuple[int, ...]) -> np.ndarray:
    """Smooth noise of several scales, 0 to 1: (HEIGHT, WIDTH)."""
    field = np.zeros((HEIGHT, WIDTH))
    for count in cells:
        grid = rng.uniform(size=(count + 1, count * WIDTH // HEIGHT + 1))
        field += cv2.resize(grid, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) / count**0.7
    return (field - field.min()) / (field.max() - field.min())


def _ball_sprite(plan: ClipPlan) -> np.ndarray:
    """A lit ball and its soft shadow: float32 (2M, 2M, 4), BGR times opacity, then opacity."""
    y, x = np.mgrid[-_SPRITE_MARGIN:_SPRITE_MARGIN, -_SPRITE_MARGIN:_SPRITE_MARGIN] + 0.5
    radius = plan.ball_radius
    opacity = np.clip((radius - np.hypot(x, y)) / 3 + 0.5, 0, 1)
    light = 1.05 - 0.3 * np.hypot(x + 0.35 * radius, y + 0.4 * radius) / radius
    shadow = 0.45 * np.clip((1.15 * radius - np.hypot(x - 5, y - 7)) / 12 + 0.5, 0, 1)
    bgr = np.clip(light[..., None] * plan.ball_rgb[::-1], 0, 255)
    both = opacity + shadow * (1 - opacity)
    return np.dstack([bgr * opacity[..., None], both]).astype(np.float32)


def _frames(background: np.ndarray, class_name: str, plan: ClipPlan) -> Iterator[np.ndarray]:
    """The clip's pictures, uint8 BGR (240, 320, 3)."""
    sprite, size = _ball_sprite(plan), 2 * _SPRITE_MARGIN
    canvas = np.pad(background[..., ::-1], ((size, size), (size, size), (0, 0)))
    for x, y in trajectory(class_name, plan):
        left, top = int(x), int(y)
        shift = np.array([[1, 0, x - left], [0, 1, y - top]])
        moved = cv2.warpAffine(sprite, shift, (size, size))
        picture = canvas.copy()
        left, top = left + _SPRITE_MARGIN, top + _SPRITE_MARGIN
        patch = picture[top : top + size, left : left + size]
        patch[:] = moved[..., :3] + patch * (1 - moved[..., 3:]) + 0.5
        yield np.ascontiguousarray(picture[size:-size, size:-size])


def _render_group(root: Path, class_name: str, group: int, num_clips: int, seed: int) -> int:
    """Write a group's missing clips; return how many clips it has."""
    cv2.setNumThreads(1)  # one core a worker
    paths = {clip: clip_path(root, class_name, group, clip) for clip in range(1, num_clips + 1)}
    missing = {clip: path for clip, path in paths.items() if not path.exists()}
    if missing:
        background = render_background(class_name, group, seed=seed)
        paths[1].parent.mkdir(parents=True, exist_ok=True)
    for clip, path in missing.items():
        plan = plan_clip(group, clip, seed=seed)
        _write_complete(path, _encode(_frames(background, class_name, plan), plan))
    return num_clips


def _encode(frames: Iterator[np.ndarray], plan: ClipPlan) -> bytes:
    """The MPEG-1 file of the frames, checked to hold them all."""
    with tempfile.TemporaryDirectory(prefix="ttrnn-demo-") as folder:
        path = Path(folder) / "clip.mpg"
        fourcc = cv2.VideoWriter.fourcc(*"PIM1")
        with _quiet_stderr():  # ffmpeg finds the tag odd in this container, once a file
            writer = cv2.VideoWriter(str(path), fourcc, plan.fps, (WIDTH, HEIGHT))
        if not writer.isOpened():
            raise RuntimeError(
                "The demo set needs an OpenCV that writes MPEG-1. This one could not open "
                f"{path}; install opencv-python-headless, or free space in {folder}."
            )
        for frame in frames:
            writer.write(frame)
        writer.release()
        _check_length(path, plan.num_frames)
        return path.read_bytes()


def _check_length(path: Path, num_frames: int) -> None:
    capture = cv2.VideoCapture(str(path))
    decoded = 0
    while capture.grab():
        decoded += 1
    capture.release()
    if decoded != num_frames:
        raise RuntimeError(
            f"An encoded clip must hold {num_frames} frames. Received {decoded}; "
            f"is there space left in {path.parent.parent}?"
        )


def _write_complete(path: Path, content: bytes) -> None:
    """Write under a temporary name that no reader takes for a clip, then rename."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Send what C libraries write to stderr nowhere."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
