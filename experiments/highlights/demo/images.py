"""Frames of the demo stream: the game, and the face in their corner.

The game has scrolling scenes, moving shapes, hard cuts, flashes and bangs. The face's pose is
computed for each frame, and then drawn.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from experiments.highlights.demo.plan import Kind, Moment, StreamPlan, random_numbers, syllables

Floats = NDArray[np.float64]
ImageArray = NDArray[np.uint8]
Point = tuple[float, float]
Colour = tuple[float, float, float]  # blue, green, red, 0 to 255

WIDTH, HEIGHT = 320, 180  # of a frame, in pixels
FACE_WIDTH, FACE_HEIGHT = 96, 72  # of the face camera in its upper right corner
_SUBPIXEL_BITS = 4  # OpenCV draws at sixteenths of a pixel, so that slow movements do not jump
_ATTACK_SECONDS = 0.1  # before and after its start, excitement grows; likewise at its end
_SHAKE_HZ = 5.5
_FLUSH: Colour = (70, 60, 235)
_EYE_WHITE: Colour = (245, 245, 245)
_DARK: Colour = (28, 22, 30)
_MOUTH: Colour = (45, 30, 95)
_FIRE: Colour = (60, 150, 255)
_SCENE_SECONDS = (3.0, 8.0)
_NUM_SHAPES = 6
_FADE_SECONDS = 0.5  # of a flash
_SKINS = ((172, 205, 246), (140, 180, 232), (110, 150, 208), (84, 120, 176), (58, 86, 134))


def stream_images(plan: StreamPlan, frames: range) -> Iterator[ImageArray]:
    """Draw some frames of a stream, BGR (180, 320, 3)."""
    gaps = plan.random("cuts").uniform(*_SCENE_SECONDS, int(plan.duration) + 1)
    cuts = np.cumsum(gaps)  # when a new scene begins, in seconds
    scene = _new_scene(plan, 0)
    # What is the same in all frames is drawn once.
    look = face_look(plan.seed, plan.group)
    wall = _draw_wall(look)
    for frame, pose in zip(frames, _face_poses(plan, frames), strict=True):
        time = float(frame / plan.rate)
        number = int(np.searchsorted(cuts, time, side="right"))
        if number != scene.number:
            scene = _new_scene(plan, number)
        left = int(scene.speed * time) % WIDTH
        image = scene.ground[:, left : left + WIDTH].copy()
        for shape in scene.shapes:
            shape.draw(image, time)
        for one in plan.of(Kind.FLASH, Kind.BANG):
            age = time - one.start
            if 0 <= age < _FADE_SECONDS:
                _flash(image, 1 - age / _FADE_SECONDS, is_bang=one.kind == Kind.BANG)
        image[:FACE_HEIGHT, WIDTH - FACE_WIDTH :] = _draw_face(wall, look, pose)
        yield image


# The face: its look, its pose at each moment, and its drawing.


@dataclass(frozen=True)
class FaceLook:
    """Colours of the face camera in one group."""

    skin: Colour
    hair: Colour
    shirt: Colour
    wall: Colour
    shelf: Colour


class Pose(NamedTuple):
    """Pose of a face in one frame.

    Args:
        x: shift to the right, in pixels.
        y: shift downwards, in pixels.
        mouth: opening of the mouth, 0 to 1.
        brows: height of the brows, 0 to 1.
        eyes: opening of the eyes, 0 to 1.25.
        flush: redness of the skin, 0 to 1.
    """

    x: float
    y: float
    mouth: float
    brows: float
    eyes: float
    flush: float


def face_look(seed: int, group: int) -> FaceLook:
    """Choose the colours of a group at random, other than its neighbours'."""
    rng = random_numbers(seed, "look", group)
    blue, green, red = np.array(_SKINS[group % len(_SKINS)]) + rng.uniform(-8, 8, 3)
    # About the golden ratio: hues of neighbouring groups lie far apart.
    hues = (rng.uniform() + 0.61 * group + np.array([0.0, 0.4, 0.2])) % 1
    return FaceLook(
        skin=(blue, green, red),
        hair=_colour(rng.uniform(0.02, 0.12), rng.uniform(0.2, 0.7), rng.uniform(0.12, 0.75)),
        shirt=_colour(hues[0], rng.uniform(0.5, 0.9), rng.uniform(0.4, 0.9)),
        wall=_colour(hues[1], rng.uniform(0.15, 0.5), rng.uniform(0.25, 0.85)),
        shelf=_colour(hues[2], rng.uniform(0.2, 0.6), rng.uniform(0.3, 0.7)),
    )


def _face_poses(plan: StreamPlan, frames: range) -> list[Pose]:
    """Compute the poses of the face in some frames of a stream."""
    times = np.array(frames) / float(plan.rate)
    rng = plan.random("face")
    # Each level is 0 to 1 for every frame, (N,). A yawn and a laugh open the mouth as excitement
    # does, but nothing else of it shows.
    excited = _inside(times, plan.of(Kind.EXCITED), _ATTACK_SECONDS)
    yawning = _inside(times, plan.of(Kind.YAWN), 0.35)
    laughing = _inside(times, plan.of(Kind.LAUGH), 0.15)
    sway = _sway(times, rng)
    shake = np.sin(2 * np.pi * _SHAKE_HZ * times + rng.uniform(0, 6))
    hop = np.abs(np.sin(np.pi * 4.3 * times))
    chuckle = np.sin(2 * np.pi * 3.5 * times)
    mouth = np.maximum(_talk(plan, times), 0.95 * yawning)
    mouth = np.maximum(mouth, laughing * (0.8 + 0.15 * chuckle))
    poses = [
        sway[0] + 5 * excited * shake,
        sway[1] - 4 * excited * hop + 1.2 * laughing * chuckle - 2 * yawning,
        np.maximum(mouth, excited * (0.88 + 0.12 * shake)),
        np.maximum(excited, 0.15 * sway[2]),
        np.clip(_blinks(plan, times) * (1 - yawning - 0.6 * laughing) + excited, 0, 1.25),
        excited,
    ]
    return [Pose(*row) for row in np.stack(poses, axis=1).tolist()]


def _draw_wall(look: FaceLook) -> ImageArray:
    """Draw the room behind the face, BGR (72, 96, 3)."""
    light = np.linspace(1.1, 0.8, FACE_HEIGHT)[:, None, None] * np.ones((1, FACE_WIDTH, 1))
    wall = np.clip(light * np.array(look.wall), 0, 255).astype(np.uint8)
    cv2.rectangle(wall, (6, 8), (24, 34), look.shelf, -1)
    cv2.rectangle(wall, (74, 14), (95, 17), look.shelf, -1)
    cv2.rectangle(wall, (80, 3), (85, 13), look.shirt, -1)
    return wall


def _draw_face(wall: ImageArray, look: FaceLook, pose: Pose) -> ImageArray:
    """Draw a frame of the face camera, BGR (72, 96, 3)."""
    image = wall.copy()
    # From back to front; shoulders and neck follow the head by a part of its movement.
    x, y = 48 + pose.x, 35 + pose.y
    skin = _blend(look.skin, _FLUSH, 0.3 * pose.flush)
    _oval(image, (48 + 0.4 * pose.x, 80 + 0.3 * pose.y), (32, 21), look.shirt)
    _oval(image, (48 + 0.6 * pose.x, 58 + 0.6 * pose.y), (7, 9), _blend(skin, _DARK, 0.2))
    _oval(image, (x, y - 4), (20.5, 23), look.hair)
    _oval(image, (x, y), (17.5, 22), skin)
    _oval(image, (x, y - 19), (14, 5.5), look.hair)
    for side in (-1, 1):
        _draw_eye(image, (x + 7 * side, y - 3), side, pose, look)
    _oval(image, (x, y + 2.5), (2, 3), _blend(skin, _DARK, 0.2))
    _draw_mouth(image, (x, y + 11 + 2 * pose.mouth), pose.mouth)
    return image


def _draw_eye(image: ImageArray, centre: Point, side: int, pose: Pose, look: FaceLook) -> None:
    x, y = centre
    is_open = pose.eyes > 0.3
    _oval(image, (x, y), (4, 0.5 + 2.3 * pose.eyes), _EYE_WHITE if is_open else _DARK)
    if is_open:
        _oval(image, (x, y), (1.7, 1.7), _DARK)
    height = y - 4.5 - 3.5 * pose.brows
    brow = _blend(look.hair, _DARK, 0.5)
    ends = _fixed((x - 4.5 * side, height)), _fixed((x + 4.5 * side, height + 0.8))
    cv2.line(image, *ends, brow, 2, cv2.LINE_AA, _SUBPIXEL_BITS)


def _draw_mouth(image: ImageArray, centre: Point, opened: float) -> None:
    x, y = centre
    _oval(image, (x, y), (5.5 + opened, 0.9 + 6.1 * opened), _MOUTH)
    if opened > 0.3:
        _oval(image, (x, y - 4.6 * opened), (4, 0.5 + 1.2 * opened), (235, 240, 240))
        _oval(image, (x, y + 3.8 * opened), (3.2, 1.8 * opened), (110, 100, 205))


def _colour(hue: float, saturation: float, brightness: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, brightness)
    return 255 * blue, 255 * green, 255 * red


def _blend(colour: Colour, other: Colour, share: float) -> Colour:
    blue, green, red = ((1 - share) * a + share * b for a, b in zip(colour, other, strict=True))
    return blue, green, red


def _oval(image: ImageArray, centre: Point, axes: Point, colour: Colour) -> None:
    place, size = _fixed(centre), _fixed(axes)
    cv2.ellipse(image, place, size, 0, 0, 360, colour, -1, cv2.LINE_AA, _SUBPIXEL_BITS)


def _fixed(pair: Point) -> tuple[int, int]:
    """Convert pixels to OpenCV's fixed-point numbers."""
    return round(pair[0] * 2**_SUBPIXEL_BITS), round(pair[1] * 2**_SUBPIXEL_BITS)


def _inside(times: Floats, moments: list[Moment], ramp: float) -> Floats:
    """Level of each time: 1 inside the moments, 0 outside, rising within `ramp` s of an edge."""
    level: Floats = np.zeros(len(times))
    for one in moments:
        depth = np.minimum(times - one.start, one.end - times)
        level = np.maximum(level, np.clip(0.5 + depth / (2 * ramp), 0, 1))
    return level


def _sway(times: Floats, rng: np.random.Generator) -> Floats:
    """Compute three slow random movements, (3, N): x and y in pixels, and one of -1 to 1."""
    slow = rng.uniform(0.15, 0.5, (3, 3, 1))
    waves = np.sin(2 * np.pi * slow * times + rng.uniform(0, 2 * np.pi, (3, 3, 1)))  # (3, 3, N)
    reach = np.array([3.5, 1.8, 1.0])[:, None, None]
    return np.mean(reach * waves, axis=1)


def _talk(plan: StreamPlan, times: Floats) -> Floats:
    """Opening of the mouth by speech, (N,)."""
    opened = np.full(len(times), 0.02)
    for one in syllables(plan):
        first, last = np.searchsorted(times, (one.start, one.end))
        share = (times[first:last] - one.start) / (one.end - one.start)
        opened[first:last] = 0.05 + 0.38 * np.sin(np.pi * share)
    return opened


def _blinks(plan: StreamPlan, times: Floats) -> Floats:
    """Opening of the eyes, (N,): 0 during a blink, else 1."""
    rng = plan.random("blinks")
    gaps = rng.uniform(1.5, 5.0, round(plan.duration) + 1)
    since = times[:, None] - np.cumsum(gaps)
    shut = ((since >= 0) & (since < 0.13)).any(axis=1)
    return np.where(shut, 0.0, 1.0)


# The game.


@dataclass(frozen=True)
class _Shape:
    """Shape that moves to and fro."""

    corners: int  # 0 for a ball
    colour: tuple[float, float, float]
    size: float
    place: Floats  # x, y
    reach: Floats
    hertz: Floats

    def draw(self, image: ImageArray, time: float) -> None:
        """Draw the shape into a frame of the game."""
        turn = 2 * np.pi * self.hertz * time
        x, y = self.place + self.reach * np.sin(turn)
        if not self.corners:
            cv2.circle(image, (int(x), int(y)), int(self.size), self.colour, -1, cv2.LINE_AA)
            return
        angles = turn[0] + 2 * np.pi * np.arange(self.corners) / self.corners
        corners = np.stack([x + self.size * np.cos(angles), y + self.size * np.sin(angles)], axis=1)
        cv2.fillConvexPoly(image, corners.astype(np.int32), self.colour, cv2.LINE_AA)


class _Scene(NamedTuple):
    """Scene of the game: a background that scrolls, and shapes."""

    number: int
    ground: ImageArray  # (180, 2 * 320, 3), a pattern twice side by side
    speed: float  # pixels a second
    shapes: list[_Shape]


def _flash(image: ImageArray, strength: float, *, is_bang: bool) -> None:
    """Brighten the whole frame; a bang also draws a growing ball of fire."""
    light = np.full_like(image, 255)
    cv2.addWeighted(image, 1 - 0.8 * strength, light, 0.8 * strength, 0, dst=image)
    if is_bang:
        radius = int(15 + 60 * (1 - strength))
        cv2.circle(image, (140, 100), radius, _FIRE, int(2 + 10 * strength), cv2.LINE_AA)


def _new_scene(plan: StreamPlan, number: int) -> _Scene:
    """Make a random scene. Scenes of a group share their hues, and are dark and bright in turn."""
    hues = random_numbers(plan.seed, "palette", plan.group).uniform(0, 180, 3)
    rng = plan.random("scene", number)
    pattern = _PATTERNS[rng.integers(len(_PATTERNS))](rng)  # (180, 320), 0 to 1
    hue, other = rng.permutation(hues)[:2]
    brightness = rng.uniform(45, 85) if number % 2 else rng.uniform(120, 175)
    layers = [
        np.where(pattern > 0.5, hue, other),
        np.full((HEIGHT, WIDTH), rng.uniform(70, 170)),
        brightness * (0.7 + 0.6 * pattern),
    ]
    ground = cv2.cvtColor(np.stack(layers, axis=-1).astype(np.uint8), cv2.COLOR_HSV2BGR)
    shapes = [_new_shape(rng, hues) for _ in range(_NUM_SHAPES)]
    return _Scene(number, np.hstack([ground, ground]), rng.uniform(20, 90), shapes)


def _new_shape(rng: np.random.Generator, hues: Floats) -> _Shape:
    hsv = (rng.choice(hues) + 15) % 180, rng.uniform(140, 255), rng.uniform(90, 255)
    blue, green, red = cv2.cvtColor(np.array([[hsv]], np.uint8), cv2.COLOR_HSV2BGR)[0, 0].tolist()
    return _Shape(
        corners=int(rng.choice([0, 3, 4, 5])),
        colour=(blue, green, red),
        size=rng.uniform(6, 20),
        place=rng.uniform((20, 40), (WIDTH - 20, HEIGHT - 20)),
        reach=rng.uniform(10, 70, 2),
        hertz=rng.uniform(0.1, 0.7, 2),
    )


def _clouds(rng: np.random.Generator) -> Floats:
    cells = rng.uniform(size=(5, 8))
    grid = np.hstack([cells, cells[:, :1]])  # the ground scrolls, so its ends must fit
    return cv2.resize(grid, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR).astype(np.float64)


def _bricks(rng: np.random.Generator) -> Floats:
    shades = rng.uniform(size=(HEIGHT // 20, WIDTH // 40))
    return np.repeat(np.repeat(shades, 20, axis=0), 40, axis=1)


def _hills(rng: np.random.Generator) -> Floats:
    x = 2 * np.pi * np.arange(WIDTH) / WIDTH
    edges = [90 + 40 * row + 18 * np.sin((2 + row) * x + rng.uniform(0, 6)) for row in range(2)]
    y = np.arange(HEIGHT)[:, None]
    return 0.3 + 0.3 * (y > edges[0]) + 0.3 * (y > edges[1])


_PATTERNS = (_clouds, _bricks, _hills)
