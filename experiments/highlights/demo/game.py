"""Game of the demo stream: scrolling scenes, moving shapes, hard cuts, flashes and bangs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from experiments.highlights.demo.plan import Kind, StreamPlan, random_numbers

ImageArray = NDArray[np.uint8]

WIDTH, HEIGHT = 320, 180  # pixels
_SCENE_SECONDS = (3.0, 8.0)
_NUM_SHAPES = 6
_FADE_SECONDS = 0.5  # of a flash
_WHITE = (255, 255, 255)
_FIRE = (60, 150, 255)


@dataclass(frozen=True)
class _Shape:
    """Shape that moves to and fro."""

    corners: int  # 0 for a ball
    colour: tuple[float, float, float]
    size: float
    place: NDArray[np.float64]  # x, y
    reach: NDArray[np.float64]
    hertz: NDArray[np.float64]

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


@dataclass(frozen=True)
class _Scene:
    """Scene of the game: a background that scrolls, and shapes."""

    ground: ImageArray  # (180, 2 * 320, 3), a pattern twice side by side
    speed: float  # pixels a second
    shapes: tuple[_Shape, ...]

    def draw(self, time: float) -> ImageArray:
        """Draw the scene, BGR (180, 320, 3)."""
        left = int(self.speed * time) % WIDTH
        image = self.ground[:, left : left + WIDTH].copy()
        for shape in self.shapes:
            shape.draw(image, time)
        return image


class Game:
    """Game of one stream.

    Args:
        plan: what happens when.
    """

    def __init__(self, plan: StreamPlan) -> None:
        self._plan = plan
        gaps = plan.random("cuts").uniform(*_SCENE_SECONDS, int(plan.duration) + 1)
        self.cuts = np.cumsum(gaps)  # when a new scene begins, in seconds
        self._number, self._scene = 0, _new_scene(plan, 0)

    def draw(self, time: float) -> ImageArray:
        """Draw the game at a time, BGR (180, 320, 3); fast if times are asked for in order."""
        image = self._scene_at(time).draw(time)
        for one in self._plan.of(Kind.FLASH, Kind.BANG):
            age = time - one.start
            if 0 <= age < _FADE_SECONDS:
                _flash(image, 1 - age / _FADE_SECONDS, is_bang=one.kind == Kind.BANG)
        return image

    def _scene_at(self, time: float) -> _Scene:
        number = int(np.searchsorted(self.cuts, time, side="right"))
        if number != self._number:
            self._number, self._scene = number, _new_scene(self._plan, number)
        return self._scene


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
    shapes = tuple(_new_shape(rng, hues) for _ in range(_NUM_SHAPES))
    return _Scene(np.hstack([ground, ground]), rng.uniform(20, 90), shapes)


def _new_shape(rng: np.random.Generator, hues: NDArray[np.float64]) -> _Shape:
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


def _clouds(rng: np.random.Generator) -> NDArray[np.float64]:
    cells = rng.uniform(size=(5, 8))
    grid = np.hstack([cells, cells[:, :1]])  # the ground scrolls, so its ends must fit
    return cv2.resize(grid, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR).astype(np.float64)


def _bricks(rng: np.random.Generator) -> NDArray[np.float64]:
    shades = rng.uniform(size=(HEIGHT // 20, WIDTH // 40))
    return np.repeat(np.repeat(shades, 20, axis=0), 40, axis=1)


def _hills(rng: np.random.Generator) -> NDArray[np.float64]:
    x = 2 * np.pi * np.arange(WIDTH) / WIDTH
    edges = [90 + 40 * row + 18 * np.sin((2 + row) * x + rng.uniform(0, 6)) for row in range(2)]
    y = np.arange(HEIGHT)[:, None]
    return 0.3 + 0.3 * (y > edges[0]) + 0.3 * (y > edges[1])


_PATTERNS: tuple[Callable[[np.random.Generator], NDArray[np.float64]], ...] = (
    *(_clouds, _bricks, _hills),
)
