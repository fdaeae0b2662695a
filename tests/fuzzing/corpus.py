"""Videos to be damaged: small ones rendered here, and real ones where they exist."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.fuzzing.mutations import OF_VIDEOS
from tests.preprocess.conftest import REPOSITORY, write_video

CLIPS = REPOSITORY.parent / "shared" / "clips"
_LARGEST_BYTES = 700_000  # of a real video; larger ones take long
_SECONDS = "0.8"
_ENCODERS = {
    "h264.mp4": ("libx264", "aac"),
    "h264.mkv": ("libx264", "libopus"),
    "vp9.webm": ("libvpx", "libvorbis"),
    "mpeg1.mpg": ("mpeg1video", "mp2"),
    "mpeg4.avi": ("mpeg4", "pcm_s16le"),
}


@dataclass(frozen=True)
class Specimen:
    """Undamaged file.

    Args:
        name: name of the file, with its suffix.
        content: its bytes.
    """

    name: str
    content: bytes


@dataclass(frozen=True)
class Mutant:
    """Damaged file.

    Args:
        seed: seed that makes it again from the same corpus.
        origin: name of the specimen from which it was made.
        mutations: names of the mutations.
        content: its bytes.
    """

    seed: int
    origin: str
    mutations: str
    content: bytes

    @property
    def suffix(self) -> str:
        """Suffix of a suitable file name."""
        return Path(self.origin).suffix


def rendered(folder: Path) -> list[Specimen]:
    """Render a video of each container and codec that matter, all below a second long."""
    paths = [write_video(folder / f"plain{suffix}", seed=1) for suffix in (".mpg", ".avi", ".mp4")]
    for name, (image, sound) in _ENCODERS.items():
        paths.append(folder / name)
        _encode(folder / name, image, sound)
    return [Specimen(path.name, path.read_bytes()) for path in paths]


def real(folder: Path = CLIPS) -> list[Specimen]:
    """Read the small clips of a folder, sorted; none if there is no folder."""
    from preprocess.sources.clips import list_videos

    paths = [folder / source for source in list_videos(folder).videos] if folder.is_dir() else []
    small = [path for path in paths if path.stat().st_size <= _LARGEST_BYTES]
    return [Specimen(path.name, path.read_bytes()) for path in small]


def mutants(corpus: Sequence[Specimen], first_seed: int) -> Iterator[Mutant]:
    """Yield damaged files without end; one of three is damaged in two ways."""
    seed = first_seed
    while True:
        yield mutant(corpus, seed)
        seed += 1


def mutant(corpus: Sequence[Specimen], seed: int) -> Mutant:
    """Make the damaged file that belongs to a seed."""
    random = Random(seed)
    specimen, donor = random.choice(corpus), random.choice(corpus)
    content = specimen.content
    chosen = random.choices(OF_VIDEOS, k=random.choice([1, 1, 2]))
    for mutation in chosen:
        content = mutation(random, content, donor.content)
    return Mutant(seed, specimen.name, "+".join(one.__name__ for one in chosen), content)


def _encode(path: Path, image: str, sound: str) -> None:
    import imageio_ffmpeg

    inputs = [
        *("-f", "lavfi", "-i", f"testsrc=s=96x64:r=25:d={_SECONDS}"),
        *("-f", "lavfi", "-i", f"sine=440:d={_SECONDS}"),
    ]
    args = ["-c:v", image, "-c:a", sound, "-pix_fmt", "yuv420p", "-g", "10", f"file:{path}"]
    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", "-v", "error"]
    subprocess.run([*program, *inputs, *args], check=True)
