"""Trajectories of the demo set's ball, which define its classes.

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
"""

import colorsys
from dataclasses import dataclass

import numpy as np

from preprocess.sources.catalog import DEMO

WIDTH, HEIGHT = 320, 240  # pixels
MIN_FRAMES, MAX_FRAMES = 40, 250
NUM_LOOPS = 3  # top, right, left: 120 degrees apart, clockwise on the screen

_VISITS = {"right": (0, 1, 2), "left": (0, 2, 1)}
_PURPOSES = ("plan", "group", "background")


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
