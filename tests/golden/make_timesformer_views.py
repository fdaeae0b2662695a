"""Make timesformer_views.npz: the views that TimeSformer's readers of frames give of pictures.

    pip install numpy torch pillow opencv-python-headless tyro
    git clone https://github.com/facebookresearch/TimeSformer TIMESFORMER
    git clone https://github.com/fran6co/epic_kitchens EPIC
    PYTHONPATH=. python tests/golden/make_timesformer_views.py TIMESFORMER EPIC

The original's own code reads and cuts: `Epickitchens` of EPIC, and `datasets/utils.py` and
`transform.py` of TIMESFORMER. Only fvcore, which opens files for it, is stood in for, and its
random numbers are recorded. Pictures are made by `image`, which the test repeats, and stored
without loss. Crops are of 16 pixels, of short sides 19 to 24 in training.

- `segments_<frames>` (lengths, frames, 3): of clips of 1 to 120 frames the first and the last frame
  that training draws from, and the one that tests take; for views of 8 and 16 frames.
- `test_<width>x<height>` (3, 3, 4, 16, 16): the three crops of a clip of 11 pictures, of 4 frames,
  channels first, BGR, normalised.
- `smooth_<width>x<height>` (3, 3, 4, 16, 16): the same of pictures by `smooth_image`, which can
  be scaled twice and hardly differ: clips of another size than the stored one are compared so.
- `train_<width>x<height>` (3, 4, 16, 16): the same of training, at a short side of 22, the second
  row, the fourth column, mirrored. `offsets_<width>x<height>` (2,): how many rows and columns such
  a crop is drawn from.
"""

import contextlib
import csv
import json
import sys
import tempfile
import types
from pathlib import Path

import cv2
import numpy as np
from make_ucf101_original import original

SIZES = [(57, 32), (32, 57), (40, 40), (45, 17), (16, 30)]
NUM_IMAGES, NUM_FRAMES, CROP = 11, 4, 16
LENGTHS = range(1, 121)


def image(number, width, height):
    """Random picture, BGR, uint8 (height, width, 3)."""
    return np.random.default_rng([2021, number]).integers(0, 256, (height, width, 3), np.uint8)


def smooth_image(number, width, height):
    """Smooth picture, BGR, uint8 (height, width, 3), rising to the right, down, and by number."""
    across, down = (np.arange(width) + 0.5) / width, (np.arange(height)[:, None] + 0.5) / height
    channels = np.broadcast_arrays(255 * across, 255 * down, np.float64(20 * number))
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def epic_kitchens():
    """Load the original's module of EPIC's data set."""
    timesformer, epic = sys.argv[1:]
    for name in ("fvcore", "fvcore.common", "timesformer", "timesformer.datasets"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = []
    file_io = sys.modules["fvcore.common.file_io"] = types.ModuleType("fvcore.common.file_io")
    file_io.PathManager = types.SimpleNamespace(open=open)
    datasets = sys.modules["timesformer.datasets"]
    for name in ("transform", "utils"):
        setattr(datasets, name, original(timesformer, f"timesformer/datasets/{name}.py"))
    return original(epic, "project/datasets.py")


def write_clip(root, make, width, height):
    folder = root / "val" / "P01" / "P01_01"
    folder.mkdir(parents=True)
    for number in range(NUM_IMAGES):
        content = cv2.imencode(".png", make(number, width, height))[1]
        (folder / f"frame_{number:010d}.jpg").write_bytes(content)
    (root / "class_names.json").write_text(json.dumps({"open": 0}))
    for part in ("train", "val"):
        with (root / f"{part}_action_classes.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["participant_id", "video_id", "action_class"])
            rows.writerow(["P01", "P01_01", "open"])
    (root / "train").symlink_to(root / "val")


def data_set(epic, root, mode):
    found = epic.Epickitchens(
        str(root),
        mode,
        mean=(0.45,) * 3,
        std=(0.225,) * 3,
        num_frames=NUM_FRAMES,
        num_clips=3,
        jitter_scales=(19, 24),
        crop_size=CROP,
        num_spatial_crops=3,
    )
    found._path_to_videos = [sorted(paths) for paths in found._path_to_videos]
    return found


def segments(epic, root, num_frames):
    """Segments of clips of all lengths: ranges that training draws from, and frames of tests."""
    rows = []
    train, test = data_set(epic, root, "train"), data_set(epic, root, "test")
    for data in (train, test):
        data._num_frames = num_frames
    seen, loaded = [], []

    class Stop(Exception):
        pass

    def load(paths):
        loaded.append(paths)
        raise Stop

    real = epic.utils.retry_load_images, epic.random.randint
    epic.utils.retry_load_images = load
    epic.random.randint = lambda first, last: seen.append((first, last)) or first
    for length in LENGTHS:
        for data in (train, test):
            data._path_to_videos = [range(length)]
            with contextlib.suppress(Stop):
                data[0]
        rows.append([(*pair, frame) for pair, frame in zip(seen, loaded[-1], strict=True)])
        seen.clear()
    epic.utils.retry_load_images, epic.random.randint = real
    return np.array(rows)


def training_view(epic, root):
    """Training view with fixed values in place of random ones; see the module's docstring."""
    data = data_set(epic, root, "train")
    offsets = []
    rng = types.SimpleNamespace(
        uniform=lambda *limits: 22.0 if limits else 0.25,
        randint=lambda low, high: (offsets.append(high), min((1, 3)[len(offsets) - 1], high - 1))[
            1
        ],
    )
    real = epic.random.randint, np.random
    epic.random.randint = lambda first, last: (first + last) // 2
    sys.modules["timesformer.datasets.transform"].np.random = rng
    try:
        view = data[0][0].numpy()
    finally:
        epic.random.randint, np.random = real
    return view, np.array(offsets)


def main():
    epic, arrays = epic_kitchens(), {}
    for width, height in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            write_clip(root, image, width, height)
            name = f"{width}x{height}"
            test = data_set(epic, root, "test")
            arrays[f"test_{name}"] = np.stack([test[i][0].numpy() for i in range(3)])
            arrays[f"train_{name}"], arrays[f"offsets_{name}"] = training_view(epic, root)
            for num_frames in (8, 16):
                arrays[f"segments_{num_frames}"] = segments(epic, root, num_frames)
    for width, height in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            write_clip(Path(folder), smooth_image, width, height)
            test = data_set(epic, Path(folder), "test")
            arrays[f"smooth_{width}x{height}"] = np.stack([test[i][0].numpy() for i in range(3)])
    np.savez_compressed(Path(__file__).with_name("timesformer_views.npz"), **arrays)


if __name__ == "__main__":
    main()
