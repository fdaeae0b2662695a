"""The picture of the demo stream: the game, and the face camera in its corner."""

from __future__ import annotations

from collections.abc import Iterator

import cv2

from experiments.highlights import stream_face, stream_game
from experiments.highlights.label_types import Box
from experiments.highlights.stream_plan import StreamPlan

SIZE = stream_game.WIDTH, stream_game.HEIGHT
_LEFT = stream_game.WIDTH - stream_face.WIDTH
FACE_BOX = Box(_LEFT / SIZE[0], 0.0, 1.0, stream_face.HEIGHT / SIZE[1])
"""Where the face camera is, in all streams."""


def pictures(plan: StreamPlan, frames: range) -> Iterator[bytes]:
    """Some pictures of a stream, 320x180, each as the planes of YUV 4:2:0."""
    game = stream_game.Game(plan)
    look = stream_face.face_look(plan.seed, plan.group)
    wall = stream_face.draw_wall(look)
    for frame, pose in zip(frames, stream_face.face_poses(plan, frames), strict=True):
        picture = game.draw(float(frame / plan.rate))
        picture[: stream_face.HEIGHT, _LEFT:] = stream_face.draw_face(wall, look, pose)
        yield cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420).tobytes()
