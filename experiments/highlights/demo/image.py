"""Frames of the demo stream: the game, with the face camera in its corner."""

from __future__ import annotations

from collections.abc import Iterator

import cv2

from experiments.clips.images import Box
from experiments.highlights.demo import face, game
from experiments.highlights.demo.plan import StreamPlan

SIZE = game.WIDTH, game.HEIGHT
_LEFT = game.WIDTH - face.WIDTH
FACE_BOX = Box(_LEFT / SIZE[0], 0.0, 1.0, face.HEIGHT / SIZE[1])
"""Box of the face camera, the same in all streams."""


def images(plan: StreamPlan, frames: range) -> Iterator[bytes]:
    """Yield some frames of a stream, 320x180, each as the planes of YUV 4:2:0."""
    played = game.Game(plan)
    # What is the same in all frames is drawn once.
    look = face.face_look(plan.seed, plan.group)
    wall = face.draw_wall(look)
    for frame, pose in zip(frames, face.face_poses(plan, frames), strict=True):
        image = played.draw(float(frame / plan.rate))
        image[: face.HEIGHT, _LEFT:] = face.draw_face(wall, look, pose)
        yield cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).tobytes()
