"""Built-in demo set: MPEG-1 files in the UCF11 layout whose classes differ by motion alone.

A ball runs along a trefoil: three loops, *top*, *right* and *left*, that meet in one point, where
it slows down. A class says in which order the loops are taken and which way round each is run. Its
name spells that out: `right_cca` takes them to the right (top, right, left) and runs the top and
the right loop clockwise, the left one anticlockwise; `left_...` takes them top, left, right, its
letters still naming top, right and left.

**Shuffled frames cannot tell the class, by construction.** What a clip shows is its plan: length,
speed, place, colour, size, and how many frames each visit to each loop takes. All classes draw
their plans from one distribution, and for one plan all classes show the same frames in another
order: a class permutes the visits of each cycle and plays a visit forwards or backwards. A clip
holds whole cycles, and its random start turns it round like a wheel, which is one more re-ordering.
So the bag of a clip's frames has the same distribution in every class, and so has any one frame.

The still picture behind the ball belongs to the (class, group): a model that learns these pictures
by heart is right on the training groups and at chance on the others.
"""

from __future__ import annotations

import colorsys
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import joblib
import numpy as np
from tqdm import tqdm

from common.errors import WriteError
from common.files import exclusive, not_written, remove_partials, write_atomically
from preprocess.errors import PreprocessError
from preprocess.sources.catalog import DEMO
from preprocess.system.machine import available_cpus
from preprocess.video.ffmpeg import captured_stderr

CLASS_NAMES = DEMO.class_names
GROUPS_PER_CLASS = CLIPS_PER_GROUP = 8

STAMP_NAME = "synthetic.json"
RENDERER_VERSION = 4  # raise when the same seed draws other pictures

WIDTH, HEIGHT = 320, 240  # pixels
MIN_FRAMES, MAX_FRAMES = 40, 250
NUM_LOOPS = 3  # top, right, left: 120 degrees apart, clockwise on the screen

_VISITS = {"right": (0, 1, 2), "left": (0, 2, 1)}
_PURPOSES = ("plan", "group", "background")
# joblib starts a process that cleans up its semaphores, with this program's filters of warnings. Of
# a command that is stopped while its workers start, it would print, below the command's last line,
# that it had something to clean up.
_QUIET_TRACKER = "ignore::UserWarning:joblib.externals.loky.backend.resource_tracker"

_SPRITE_MARGIN = 48  # pixels; half a sprite, and the border that lets it overlap the frame's edge


def clip_path(root: Path, class_name: str, group: int, clip: int) -> Path:
    """Path of a clip: `class/v_class_NN/v_class_NN_MM.mpg`."""
    folder = f"v_{class_name}_{group:02d}"
    return root / class_name / folder / f"{folder}_{clip:02d}.mpg"


def render_dataset(
    root: Path,
    *,
    groups_per_class: int = GROUPS_PER_CLASS,
    clips_per_group: int = CLIPS_PER_GROUP,
    seed: int = 0,
    lengths: Sequence[int] | None = None,
    jobs: int | None = None,
    progress: bool = True,
) -> None:
    """Write the demo set under `root`: 11 x groups x clips MPEG-1 files of 320x240 pixels.

    The same arguments give the same bytes whatever `jobs` is. A file appears under its name only
    when it is complete, and a second run writes what is missing.

    Args:
        root: folder to fill; made when absent.
        groups_per_class: groups (backgrounds) per class, 1 to 99.
        clips_per_group: clips per group, 1 to 99.
        seed: 0 or more; another seed draws another data set.
        lengths: number of frames of each clip, by class, group and clip; clips beyond the list are
            not made. None draws them.
        jobs: worker processes; None takes all cores this process may use.
        progress: show a bar, with the time left, on stderr.

    Raises:
        PreprocessError: if an argument is out of range, `root` holds other files, OpenCV cannot
            encode MPEG-1, or an encoded file lacks frames.
        WriteError: if `root` or the temporary folder cannot be written.
    """
    root = Path(root)
    counts = {"groups_per_class": groups_per_class, "clips_per_group": clips_per_group}
    for name, value in counts.items():
        if not 1 <= value <= 99:
            raise PreprocessError(
                f"{name} must be 1 to 99 (two digits in a name). Received {value}."
            )
    check_seed_and_jobs(seed, jobs)
    drawn = [None] * (len(CLASS_NAMES) * groups_per_class * clips_per_group)
    given = iter(drawn if lengths is None else lengths)
    tasks = [
        joblib.delayed(_render_group)(root, name, group, list(islice(given, clips_per_group)), seed)
        for name in CLASS_NAMES
        for group in range(1, groups_per_class + 1)
    ]
    total = len(drawn) if lengths is None else min(len(lengths), len(drawn))
    try:
        root.mkdir(parents=True, exist_ok=True)
        waiting = f"Another process renders into {root}; waiting for it to end."
        with exclusive(root, on_wait=lambda: tqdm.write(waiting, file=sys.stderr)):
            remove_partials(root)
            wanted = {"renderer_version": RENDERER_VERSION, "seed": seed}
            stamp(root / STAMP_NAME, wanted, what="demo set")
            with tqdm(total=total, desc="demo set", unit="clip", disable=not progress) as bar:
                for num_clips in in_parallel(tasks, jobs):
                    bar.update(num_clips)
    except OSError as error:
        message = not_written(root, error.strerror or error)
        raise WriteError(
            f"{message} Finished clips are kept: make room, then run the same command again."
        ) from error


def in_parallel(tasks: list[Any], jobs: int | None) -> Iterator[Any]:
    """Yield the results of joblib's delayed calls, whichever ends first, from worker processes."""
    if _QUIET_TRACKER not in sys.warnoptions:
        sys.warnoptions.append(_QUIET_TRACKER)
    workers = joblib.Parallel(n_jobs=jobs or available_cpus(), return_as="generator_unordered")
    # With one job joblib works in this process, where a call sets OpenCV's threads to 1.
    num_threads = cv2.getNumThreads()
    try:
        yield from workers(tasks)
    finally:
        cv2.setNumThreads(num_threads)


def stamp(path: Path, wanted: dict[str, Any], *, what: str) -> None:
    """Mark a folder with the arguments of its content, and refuse to mix it with anything else.

    Args:
        path: file in the folder, which holds the arguments.
        wanted: the arguments.
        what: the content, for messages.

    Raises:
        PreprocessError: if the folder holds other files, or content of other arguments.
    """
    root = path.parent
    if not path.exists():
        if any(root.glob("[!.]*")):  # hidden files, such as .DS_Store, do no harm
            raise PreprocessError(
                f"The {what} needs a folder of its own. {root} holds other files; name another."
            )
        write_atomically(path, json.dumps(wanted).encode())
    found = json.loads(path.read_text())
    if found != wanted:
        raise PreprocessError(
            f"A folder holds one {what}. {root} holds {found}, wanted {wanted}; "
            "delete it or name another folder."
        )


def check_seed_and_jobs(seed: int, jobs: int | None) -> None:
    """Raise PreprocessError for a negative seed, or fewer than one worker process."""
    if seed < 0:
        raise PreprocessError(f"seed must be 0 or more. Received {seed}.")
    if jobs is not None and jobs < 1:
        raise PreprocessError(f"jobs must be 1 or more, or None for all cores. Received {jobs}.")


def render_background(class_name: str, group: int, *, seed: int = 0) -> np.ndarray:
    """Render the still picture behind the clips of one group.

    Returns:
        uint8 RGB (240, 320, 3), darker than any ball.
    """
    rng = random_numbers(seed, "background", class_name, group)
    base, tint, spot = rng.uniform(30, 120, (3, 3))  # three RGB colours
    clouds = _clouds(rng, (3, 6, 12, 24))[..., None]  # (H, W, 1)
    spots = np.clip(4 * _clouds(rng, (5, 10)) - 2, 0, 1)[..., None]
    grain = 18 * (_clouds(rng, (60, 120)) - 0.5)[..., None]
    image = base + (tint - base) * clouds
    image = image + 0.7 * spots * (spot - image) + grain
    return np.clip(image, 0, 140).astype(np.uint8)  # the ball is always lighter


def _clouds(rng: np.random.Generator, cells: tuple[int, ...]) -> np.ndarray:
    """Draw smooth noise of several scales, from 0 to 1, (HEIGHT, WIDTH)."""
    field = np.zeros((HEIGHT, WIDTH))
    for count in cells:
        grid = rng.uniform(size=(count + 1, count * WIDTH // HEIGHT + 1))
        field += cv2.resize(grid, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) / count**0.7
    return (field - field.min()) / (field.max() - field.min())


def _ball_sprite(plan: ClipPlan) -> np.ndarray:
    """Draw a lit ball with its soft shadow: float32 (2M, 2M, 4), BGR times opacity, opacity."""
    y, x = np.mgrid[-_SPRITE_MARGIN:_SPRITE_MARGIN, -_SPRITE_MARGIN:_SPRITE_MARGIN] + 0.5
    radius = plan.ball_radius
    opacity = np.clip((radius - np.hypot(x, y)) / 3 + 0.5, 0, 1)
    light = 1.05 - 0.25 * np.hypot(x + 0.35 * radius, y + 0.4 * radius) / radius
    shadow = 0.45 * np.clip((1.15 * radius - np.hypot(x - 5, y - 7)) / 12 + 0.5, 0, 1)
    bgr = np.clip(light[..., None] * plan.ball_rgb[::-1], 0, 255)
    both = opacity + shadow * (1 - opacity)
    return np.dstack([bgr * opacity[..., None], both]).astype(np.float32)


def _frames(background: np.ndarray, class_name: str, plan: ClipPlan) -> Iterator[np.ndarray]:
    """Yield the clip's pictures, uint8 BGR (240, 320, 3)."""
    sprite, size = _ball_sprite(plan), 2 * _SPRITE_MARGIN
    canvas = np.pad(background[..., ::-1], ((size, size), (size, size), (0, 0)))
    for x, y in trajectory(class_name, plan):
        left, top = int(x), int(y)
        # The fraction of a pixel is left to the interpolation, so that the ball moves smoothly.
        shift = np.array([[1, 0, x - left], [0, 1, y - top]])
        moved = cv2.warpAffine(sprite, shift, (size, size))
        image = canvas.copy()
        left, top = left + _SPRITE_MARGIN, top + _SPRITE_MARGIN
        patch = image[top : top + size, left : left + size]
        patch[:] = moved[..., :3] + patch * (1 - moved[..., 3:]) + 0.5
        yield np.ascontiguousarray(image[size:-size, size:-size])


def _render_group(
    root: Path, class_name: str, group: int, lengths: Sequence[int | None], seed: int
) -> int:
    """Write a group's missing clips; return the group's number of clips."""
    num_clips = len(lengths)
    cv2.setNumThreads(1)  # one core per worker
    paths = {clip: clip_path(root, class_name, group, clip) for clip in range(1, num_clips + 1)}
    missing = {clip: path for clip, path in paths.items() if not path.exists()}
    if missing:
        background = render_background(class_name, group, seed=seed)
        paths[1].parent.mkdir(parents=True, exist_ok=True)
    for clip, path in missing.items():
        plan = plan_clip(class_name, group, clip, seed=seed, num_frames=lengths[clip - 1])
        write_atomically(path, _encode(_frames(background, class_name, plan), plan))
    return num_clips


def _encode(frames: Iterator[np.ndarray], plan: ClipPlan) -> bytes:
    """Encode frames as an MPEG-1 file, and check that it holds them all."""
    with tempfile.TemporaryDirectory(prefix="ttrnn-demo-") as folder:
        path = Path(folder) / "clip.mpg"
        fourcc = cv2.VideoWriter.fourcc(*"PIM1")
        # ffmpeg warns about the tag in this container, once per file.
        with captured_stderr():
            writer = cv2.VideoWriter(str(path), fourcc, plan.fps, (WIDTH, HEIGHT))
        if not writer.isOpened():
            raise PreprocessError(
                "The demo set needs an OpenCV that writes MPEG-1. This one could not open "
                f"{path}; install opencv-python-headless, or free space in {folder}."
            )
        for frame in frames:
            writer.write(frame)
        writer.release()
        _check_length(path, plan.num_frames)
        return path.read_bytes()


def _check_length(path: Path, num_frames: int) -> None:
    """Refuse an encoded file that lacks frames, as on a full disk."""
    # OpenCV's writer reports no errors, so the file is read back.
    capture = cv2.VideoCapture(str(path))
    decoded = 0
    while capture.grab():
        decoded += 1
    capture.release()
    if decoded != num_frames:
        raise PreprocessError(
            f"An encoded clip must hold {num_frames} frames. Received {decoded}; "
            f"is there space left in {path.parent.parent}?"
        )


# Plans of clips, and trajectories of the ball.


@dataclass(frozen=True)
class ClipPlan:
    """Properties of a clip apart from the order of its frames; lengths in pixels, times in frames.

    `visit_frames[j][k]` is the duration of the visit to loop k in cycle j; the sum over all is
    the clip's length. `start_frame` is the frame of the cycles at which the clip begins.
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
        """Length of the clip in frames."""
        return sum(map(sum, self.visit_frames))


def plan_clip(
    class_name: str, group: int, clip: int, *, seed: int = 0, num_frames: int | None = None
) -> ClipPlan:
    """Draw the plan of a clip. The class chooses the random numbers, never their distribution.

    Args:
        class_name: one of the demo set's classes.
        group: number of the group, from 1.
        clip: number of the clip in its group, from 1.
        seed: seed of the whole data set, 0 or more.
        num_frames: length of the clip; None draws it: 40 to 250 frames, about 70 in the median.

    Returns:
        The plan, at 25 or 29.97 frames a second.
    """
    rng = random_numbers(seed, "plan", class_name, group, clip)
    group_rng = random_numbers(seed, "group", class_name, group)
    drawn = int(np.clip(MIN_FRAMES + rng.lognormal(np.log(28), 0.8), 0, MAX_FRAMES))
    num_frames = num_frames or drawn
    return ClipPlan(
        fps=float(group_rng.choice((25.0, 29.97))),
        visit_frames=_split_frames(num_frames, rng.uniform(8, 13), rng),
        start_frame=int(rng.integers(num_frames)),
        centre=(rng.uniform(0.46, 0.54) * WIDTH, rng.uniform(0.52, 0.575) * HEIGHT),
        loop_radius=rng.uniform(40, 46),
        ball_radius=rng.uniform(26, 31),
        ball_rgb=_ball_rgb(rng),
    )


def trajectory(class_name: str, plan: ClipPlan) -> np.ndarray:
    """Compute the ball's position in each frame of the clip of a class and a plan.

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


def random_numbers(seed: int, purpose: str, class_name: str, *numbers: int) -> np.random.Generator:
    """Create a generator for one purpose, class, and group or clip."""
    key = (_PURPOSES.index(purpose), DEMO.class_names.index(class_name))
    return np.random.default_rng((seed, *key, *numbers))


def _split_frames(
    num_frames: int, frames_per_loop: float, rng: np.random.Generator
) -> tuple[tuple[int, ...], ...]:
    """Draw two or more cycles of visits of nearly equal lengths that sum to `num_frames`."""
    num_cycles = max(2, round(num_frames / (NUM_LOOPS * frames_per_loop)))
    visits = np.full(num_cycles * NUM_LOOPS, num_frames // (num_cycles * NUM_LOOPS))
    longer = rng.permutation(len(visits))[: num_frames - visits.sum()]
    visits[longer] += 1
    return tuple(map(tuple, visits.reshape(num_cycles, NUM_LOOPS).tolist()))


def _ball_rgb(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw a bright colour of any hue."""
    red, green, blue = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.1, 0.45), 1.0)
    brightness = rng.uniform(225, 255)
    return red * brightness, green * brightness, blue * brightness


def _loop(loop: int, num_frames: int, radius: float) -> np.ndarray:
    """Compute one clockwise round of a loop, slower where the loops meet, (num_frames, 2)."""
    time = (np.arange(num_frames) + 0.5) / num_frames
    swept = 2 * np.pi * time - 0.5 * np.sin(2 * np.pi * time)
    outwards = 2 * np.pi * loop / NUM_LOOPS - np.pi / 2  # the loop's direction; y is down
    angle = outwards + np.pi + swept
    x = np.cos(outwards) + np.cos(angle)
    y = np.sin(outwards) + np.sin(angle)
    return radius * np.stack([x, y], axis=-1)
