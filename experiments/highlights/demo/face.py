"""Face in the corner of the demo stream: its pose at each moment, and its drawing."""

from __future__ import annotations

import colorsys
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

WIDTH, HEIGHT = 96, 72  # of the face camera, in pixels
_SUBPIXEL_BITS = 4  # OpenCV draws at sixteenths of a pixel, so that slow movements do not jump
_ATTACK_SECONDS = 0.1  # before and after its start, excitement grows; likewise at its end
_SHAKE_HZ = 5.5
_FLUSH: Colour = (70, 60, 235)
_WHITE: Colour = (245, 245, 245)
_DARK: Colour = (28, 22, 30)
_MOUTH: Colour = (45, 30, 95)
_SKINS = ((172, 205, 246), (140, 180, 232), (110, 150, 208), (84, 120, 176), (58, 86, 134))


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


def face_poses(plan: StreamPlan, frames: range) -> list[Pose]:
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


def draw_wall(look: FaceLook) -> ImageArray:
    """Draw the room behind the face, BGR (72, 96, 3)."""
    light = np.linspace(1.1, 0.8, HEIGHT)[:, None, None] * np.ones((1, WIDTH, 1))
    wall = np.clip(light * np.array(look.wall), 0, 255).astype(np.uint8)
    cv2.rectangle(wall, (6, 8), (24, 34), look.shelf, -1)
    cv2.rectangle(wall, (74, 14), (95, 17), look.shelf, -1)
    cv2.rectangle(wall, (80, 3), (85, 13), look.shirt, -1)
    return wall


def draw_face(wall: ImageArray, look: FaceLook, pose: Pose) -> ImageArray:
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
    _oval(image, (x, y), (4, 0.5 + 2.3 * pose.eyes), _WHITE if is_open else _DARK)
    if is_open:
        _oval(image, (x, y), (1.7, 1.7), _DARK)
    height = y - 4.5 - 3.5 * pose.brows
    brow = _blend(look.hair, _DARK, 0.5)
    _line(image, (x - 4.5 * side, height), (x + 4.5 * side, height + 0.8), brow)


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


def _line(image: ImageArray, start: Point, end: Point, colour: Colour) -> None:
    cv2.line(image, _fixed(start), _fixed(end), colour, 2, cv2.LINE_AA, _SUBPIXEL_BITS)


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
