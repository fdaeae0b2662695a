"""Flags of the commands of `experiments.highlights`, and what they must satisfy.

A light file: jobs and `--help` import it, so it imports nothing of what does the work.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro
from tyro.conf import Positional, arg

from common.errors import InputError
from experiments.highlights.cut_lists.cut_lists import Kind, check_url
from experiments.highlights.selection.selection import SelectionOptions
from experiments.highlights.training.recipes import TrainOptions
from experiments.process.command import typed_command
from preprocess.shards.settings import Compression

# Values that `experiments.clips.images.ImageSettings` takes; that file needs OpenCV.
Part = Literal["box", "frame", "sound"]
Interpolation = Literal["smooth", "pillow-bicubic"]


@dataclass(frozen=True)
class Demo:
    """Render a small stream, learn its highlights from labelled clips, and cut its reel.

    Each step is a command of its own, which is shown. What an earlier demo made is kept, but for
    the reel.
    """

    out: Path = Path("runs/highlights-demo")
    """The run's directory; the reel lies there too."""
    data: Path = Path("data/highlights-demo")
    """Where the stream is rendered, with its pictures."""
    seed: int = 0
    """Of the stream and of the training."""
    jobs: int | None = None
    """Worker processes; one a processor if not given."""

    resume_hint: ClassVar[str] = "What is finished is kept; the same command goes on from there."


@dataclass(frozen=True)
class Extract:
    """Make the pictures that a model is trained on. A second run does only what is missing."""

    labels: Positional[Path]
    """The original's data.csv, or ours: path,x1,y1,x2,y2,start,end,label,group."""
    shards: Positional[Path]
    """Directory to write to."""
    parts: tuple[Part, ...] = ("box", "sound")
    """One above the other: the labelled box, all of the frame, the spectrogram of the sound."""
    side: int = 112
    """Width and height of each part, in pixels."""
    fps: float | None = None
    """Pictures a second, by the video's own timestamps; 2 if --every is not given either."""
    every: int | None = None
    """Every how many frames a picture is taken, in place of --fps."""
    audio_cutoff: float = 8000.0
    """Highest frequency of the spectrogram, in Hz."""
    window_seconds: float = 5.0
    """How much sound a picture shows."""
    sound_track: int = 0
    """Of several sound tracks, the one whose spectrogram is taken, from 0."""
    compression: Compression = "lz4"
    """Of the shards: none is the fastest to write, zstd the smallest."""
    interpolation: Interpolation = "smooth"
    """How box and frame are scaled: pillow-bicubic is the original's way."""
    jobs: int | None = None
    """Worker processes; one a processor if not given."""
    scheduler: str | None = None
    """tcp://HOST:8786 of a Dask cluster whose workers decode instead; see docs/cluster.md."""
    allow_failures: bool = False
    """Exit with 0 though some clips could not be read; failures.csv names them."""
    overwrite: bool = False
    """Remove what the directory holds, and start anew."""

    resume_hint: ClassVar[str] = "Finished shards are kept; the same command goes on from there."


@dataclass(frozen=True)
class Train(TrainOptions):
    """Train a scorer on labelled pictures: a ResNet that says how likely each is a highlight."""

    @property
    def resume_hint(self) -> str:
        """Sentence on how to continue a run that was stopped."""
        return f"Continue with: {typed_command('experiments.highlights', resume=True)}"


@dataclass(frozen=True)
class ReelOptions(SelectionOptions):
    """Options of a reel: which highlights, how they are rendered, and which cut lists there are."""

    out: Annotated[Path, arg(aliases=["-o"])] = Path("reel.mp4")
    """The reel; cut lists lie beside it."""
    select_by: Literal["ours", "original"] = "ours"
    """original: the rule of eqy/autotosis, of --threshold and --bin-size."""
    snap: bool = True
    """Move each cut to a quiet moment or a change of shot within a second, so that nothing is cut
    mid-word."""
    crossfade: float = 0.0
    """Seconds by which highlights overlap."""
    overlay: bool = False
    """Draw the score into the picture."""
    cut_lists: tuple[Kind, ...] = ("csv",)
    """Lists for people and editing programs."""
    url: str | None = None
    """Where the recording can be seen, for links."""
    dry_run: bool = False
    """Print the cut list and stop."""
    sound_track: int | None = None
    """Of several sound tracks, the one that is taken, from 0, for the reel and all else that
    listens; by default the first."""
    overwrite: bool = False
    """Replace what exists."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_crossfade(self.crossfade)
        # Refused here and not by the renderer, which is asked only after hours of scoring.
        if self.crossfade and self.shortest < 2 * self.crossfade:
            name = "bin_size" if self.select_by == "original" else "min_length"
            raise InputError(
                f"{name} must be twice the crossfade or more, for one at either end of a segment: "
                f"{2 * self.crossfade:g}. Received {self.shortest:g}."
            )
        if self.select_by == "original" and (self.bin_size < 1 or self.bin_size % 1):
            raise InputError(
                "bin_size must be whole seconds, 1 or more, with select_by original. Received "
                f"{self.bin_size:g}."
            )
        if self.select_by == "original" and self.has_goal:
            raise InputError(
                "percentile, share and length are of our own selection. Leave them out, or "
                "--select-by original."
            )
        if self.url is not None or "links" in self.cut_lists:
            check_url(self.url)
        check_sound_track(self.sound_track)

    @property
    def shortest(self) -> float:
        """Shortest length of a segment, in seconds."""
        return self.bin_size if self.select_by == "original" else self.min_length


@dataclass(frozen=True)
class Run(ReelOptions):
    """Score a recording with a trained scorer, choose its highlights, and render them.

    The scores are kept beside the reel: with another threshold nothing is predicted again, and
    after a stop the same command goes on where it was.
    """

    recording: Positional[tuple[Path, ...]] = ()
    """A video, or several in order; or a folder of part0.mp4 ... part10.mp4, or of what OBS or a
    GoPro has split; or what the names begin with. Without it, that of the last run of this reel,
    with the options of that run."""
    model: Annotated[Path | None, arg(aliases=["-m"])] = None
    """Directory of a run of `train`; by default that of the last run of this reel."""
    threshold: float | None = None  # type: ignore[assignment]
    """Smoothed probability that a segment has to reach; by default what `train` suggests, or, where
    that cannot be trusted, what makes the reel a twentieth of the recording (--share 0.05)."""
    box: str | None = None
    """x1,y1,x2,y2 of the excited face in fractions of the picture; by default the model's own."""
    fps: float | None = None
    """Pictures a second that are scored; by default as in training."""
    every: int | None = None
    """Every how many frames one is scored, in place of --fps."""
    batch_size: int = 32
    """Pictures the model sees at once."""
    threads: str = "auto"
    """TensorFlow's thread pools: INTRA,INTER such as 1,2; or auto."""
    scheduler: str | None = None
    """tcp://HOST:8786 of a Dask cluster whose workers score instead; see docs/cluster.md."""
    annotate: Path | None = None
    """Also write the whole recording with its score drawn into it, which takes long."""
    overwrite_scores: bool = False
    """Predict anew, though there are scores."""
    sound_track: int | None = None
    """Of several sound tracks, the one that the model hears and the reel has, from 0; by default
    that of training."""
    allow_failures: bool = False
    """Go on without chunks that cannot be read."""

    resume_hint: ClassVar[str] = "The scores so far are kept; the same command goes on after them."

    def __post_init__(self) -> None:
        if self.threshold is None:
            replace(self, threshold=1.0)  # checks all the rest
            return
        super().__post_init__()
        if self.batch_size < 1:
            raise InputError(f"batch_size must be 1 or more. Received {self.batch_size}.")

    @property
    def scorer(self) -> Path:
        """Directory of the model.

        Raises:
            InputError: if neither the command line nor the last run names one.
        """
        if self.model is None:
            raise InputError(
                "A recording is scored by a model: --model DIR, the --out of a run of `train`. "
                f"None is given, and {self.out} was not made before."
            )
        return self.model


@dataclass(frozen=True)
class Review(SelectionOptions):
    """Go through the chosen highlights in the browser: accept, move, reject, add, render.

    The page is this machine's alone. What is decided is kept in SCORES.review.json, so that the
    same command goes on with it.
    """

    recording: Positional[tuple[Path, ...]] = ()
    """A video, or several in order; or a folder of part0.mp4 ... part10.mp4, or of what OBS or a
    GoPro has split; or what the names begin with. By default that of the `run` that made the
    scores."""
    scores: tuple[Path, ...] = ()
    """CSV with the columns time_seconds and probability; by default that beside --out. With
    several, each of a `run`, the page shows one recording after the other."""
    out: Annotated[Path, arg(aliases=["-o"])] = Path("reel.mp4")
    """The reel; its cut list lies beside it."""
    labels: Path | None = None
    """Label file that decisions can be added to as training data."""
    box: str | None = None
    """x1,y1,x2,y2 of new labels, in fractions of the picture; by default that of the label file."""
    group: str | None = None
    """Of new labels; by default the recording's name."""
    snap: bool = True
    """Move each cut that nobody set to a quiet moment or a change of shot."""
    crossfade: float = 0.0
    """Seconds by which highlights overlap."""
    sound_track: int | None = None
    """Of several sound tracks, the one that the reel has, from 0; by default the first."""
    overwrite: bool = False
    """Replace a reel that exists without asking."""
    port: int = 0
    """Of the page; 0 takes one that is free."""
    open: bool = True
    """Open a browser. Other users of this machine may then see the address, token and all."""

    resume_hint: ClassVar[str] = "Decisions are kept; the same command goes on from there."

    def __post_init__(self) -> None:
        super().__post_init__()
        check_crossfade(self.crossfade)
        check_sound_track(self.sound_track)

    @property
    def scores_file(self) -> Path:
        """File of the scores: the one given, or that of the `run` that made the reel."""
        return self.scores[0] if self.scores else self.out.with_suffix(".scores.csv")


@dataclass(frozen=True)
class Label:
    """Mark the highlights of videos in the browser: the start of everything.

    Draw the box on the picture, play, press i and o where a highlight starts and ends, and d where
    there is nothing else. Each change is written into the labels at once.
    """

    videos: Positional[tuple[Path, ...]]
    """Videos, each a clip of its own."""
    labels: Path = Path("labels.csv")
    """Label file; made if it does not exist."""
    box: str | None = None
    """x1,y1,x2,y2 of new clips, in fractions of the picture; it can be drawn on the page."""
    group: str | None = None
    """Of new clips, which a split never separates; by default each is a group of its own."""
    sound_track: int = 0
    """Of several sound tracks, the one that is heard and shown, from 0."""
    port: int = 0
    """Of the page; 0 takes one that is free."""
    open: bool = True
    """Open a browser. Other users of this machine may then see the address, token and all."""

    resume_hint: ClassVar[str] = "Labels are kept; the same command goes on from there."


@dataclass(frozen=True)
class Reel(ReelOptions):
    """Choose the highlights of a recording by its scores, and render them as one video."""

    scores: Positional[Path] = tyro.MISSING
    """CSV with the columns time_seconds and probability."""
    recording: Positional[tuple[Path, ...]] = tyro.MISSING
    """A video, or several in order; or a folder of part0.mp4 ... part10.mp4, or of what OBS or a
    GoPro has split; or what the names begin with."""

    resume_hint: ClassVar[str] = "Nothing half-made is left; the same command begins anew."


@dataclass(frozen=True)
class Labels:
    """Write labels, the original's data.csv or ours, as a plain CSV."""

    source: Positional[Path]
    """What to read."""
    target: Positional[Path]
    """What to write: path,x1,y1,x2,y2,start,end,label,group."""

    resume_hint: ClassVar[str] = "Nothing half-made is left; the same command begins anew."


def next_step(purpose: str, *args: object) -> str:
    """Sentence on the command that comes next, as `To train on them: python -m ...`."""
    return f"{purpose}: python -m experiments.highlights {shlex.join(map(str, args))}"


def check_crossfade(seconds: float) -> None:
    """Check the seconds by which segments overlap.

    Raises:
        InputError: if they are negative or not finite.
    """
    if not 0 <= seconds < math.inf:
        raise InputError(f"crossfade must be 0 or more seconds. Received {seconds}.")


def check_sound_track(number: int | None) -> None:
    """Check the number of a sound track.

    Raises:
        InputError: if it is negative.
    """
    if number is not None and number < 0:
        raise InputError(f"sound_track must be 0 or more; 0 is the first. Received {number}.")


def check_recording_given(recording: tuple[Path, ...]) -> None:
    """Check that a recording is given or remembered.

    Raises:
        InputError: if it is neither.
    """
    if not recording:
        raise InputError(
            "A video, a folder of its parts, or what their names begin with must be given. "
            "Received none, and no `run` beside this reel remembers one."
        )
