"""The data sets this suite knows by name, as data, and the names of their classes and clips."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from common.command_line import did_you_mean
from preprocess.errors import PreprocessError

_UCF11_LAYOUT = "class/v_name_NN/v_name_NN_MM.mpg"
_UCF101_CLASSES = """
    ApplyEyeMakeup ApplyLipstick Archery BabyCrawling BalanceBeam BandMarching BaseballPitch
    Basketball BasketballDunk BenchPress Biking Billiards BlowDryHair BlowingCandles
    BodyWeightSquats Bowling BoxingPunchingBag BoxingSpeedBag BreastStroke BrushingTeeth
    CleanAndJerk CliffDiving CricketBowling CricketShot CuttingInKitchen Diving Drumming Fencing
    FieldHockeyPenalty FloorGymnastics FrisbeeCatch FrontCrawl GolfSwing Haircut Hammering
    HammerThrow HandstandPushups HandstandWalking HeadMassage HighJump HorseRace HorseRiding
    HulaHoop IceDancing JavelinThrow JugglingBalls JumpingJack JumpRope Kayaking Knitting LongJump
    Lunges MilitaryParade Mixing MoppingFloor Nunchucks ParallelBars PizzaTossing PlayingCello
    PlayingDaf PlayingDhol PlayingFlute PlayingGuitar PlayingPiano PlayingSitar PlayingTabla
    PlayingViolin PoleVault PommelHorse PullUps Punch PushUps Rafting RockClimbingIndoor
    RopeClimbing Rowing SalsaSpin ShavingBeard Shotput SkateBoarding Skiing Skijet SkyDiving
    SoccerJuggling SoccerPenalty StillRings SumoWrestling Surfing Swing TableTennisShot TaiChi
    TennisSwing ThrowDiscus TrampolineJumping Typing UnevenBars VolleyballSpiking WalkingWithDog
    WallPushups WritingOnBoard YoYo
"""  # in the order, and as spelled, in the official classInd.txt
# The suffix is matched here, not cut off before: a folder of frames, which has none, may have a
# dot in its class, v_St. John_g01_c02.
_FORM = re.compile(
    r"v_(?P<class_name>.+)_g(?P<group>[0-9]+)_c(?P<number>[0-9]+)(?:\.[^.\s]+)?", re.ASCII
)


@dataclass(frozen=True)
class Dataset:
    """What is known of a data set before a file of it is opened.

    Args:
        name: how commands and result rows call it.
        title: its full name.
        class_names: the classes, in label order.
        num_clips: how many clips the whole set holds.
        layout: where a clip lies below the videos folder.
        homepage: where to read about it and get it; None for the built-in set.
        default_videos_dir: where commands look for it when no folder is named.
        default_lists_dir: where they look for its official train and test lists, if it has such.
        other_spellings: of classes, (as it occurs in file names, as the class is called).
    """

    name: str
    title: str
    class_names: tuple[str, ...]
    num_clips: int
    layout: str
    homepage: str | None
    default_videos_dir: str
    default_lists_dir: str | None = None
    other_spellings: tuple[tuple[str, str], ...] = ()


UCF11 = Dataset(
    name="ucf11",
    title="UCF11, the YouTube Action data set (updated MPEG-1 release)",
    class_names=(
        "basketball",
        "biking",
        "diving",
        "golf_swing",
        "horse_riding",
        "soccer_juggling",
        "swing",
        "tennis_swing",
        "trampoline_jumping",
        "volleyball_spiking",
        "walking",
    ),
    num_clips=1600,
    layout=_UCF11_LAYOUT,
    homepage="https://www.crcv.ucf.edu/data/UCF_YouTube_Action.php",
    default_videos_dir="data/UCF11_updated_mpg",
)

UCF101 = Dataset(
    name="ucf101",
    title="UCF101, the action recognition data set",
    class_names=tuple(_UCF101_CLASSES.split()),
    num_clips=13320,
    layout="class/v_class_gNN_cNN.avi",
    homepage="https://www.crcv.ucf.edu/data/UCF101.php",
    default_videos_dir="data/UCF-101",
    default_lists_dir="data/ucfTrainTestlist",
    other_spellings=(("HandStandPushups", "HandstandPushups"),),
)

DEMO = Dataset(
    name="demo",
    title="the built-in set, rendered by preprocess.sources.synthetic",
    class_names=(
        "left_aaa",
        "left_aac",
        "left_aca",
        "left_caa",
        "left_ccc",
        "right_aaa",
        "right_aac",
        "right_acc",
        "right_cac",
        "right_cca",
        "right_ccc",
    ),
    num_clips=704,
    layout=_UCF11_LAYOUT,
    homepage=None,
    default_videos_dir="data/demo/videos",
)

DATASETS = {dataset.name: dataset for dataset in (UCF11, UCF101, DEMO)}
_OTHER_SPELLINGS = dict(
    spelling for dataset in DATASETS.values() for spelling in dataset.other_spellings
)


def official_spelling(class_name: str) -> str:
    """How a class is called that file names spell in another way; any other as it is.

    Accented letters become single code points: some systems write file names with two.
    """
    class_name = unicodedata.normalize("NFC", class_name)
    return _OTHER_SPELLINGS.get(class_name, class_name)


def resolve(
    name: str | None, class_names: Collection[str], folder_name: str
) -> tuple[str, tuple[str, ...]]:
    """Name and classes of a data set, from what it was called and what was found.

    Args:
        name: what it was called, if anything.
        class_names: the classes found in its folder.
        folder_name: of its folder.

    Returns:
        The name, and the classes in label order. The record called by name gives all of its
        classes, though some may have no clip here, unless other classes were found: then it is
        not that data set. A folder with exactly a record's classes is that record's, whatever
        it was called. Any other goes by the name given, or by its folder's.
    """
    found = set(class_names)
    called = DATASETS.get(name or "")
    if called and found <= set(called.class_names):
        return called.name, called.class_names
    for record in DATASETS.values():
        if found == set(record.class_names):
            return record.name, record.class_names
    return (folder_name if called or name is None else name), tuple(sorted(found))


class ClipName(NamedTuple):
    """The parts of a name; two names of one clip, however spelled, are equal.

    Args:
        class_name: as the class is called, whichever way the name spells it.
        group: digits of the scene, which is one within its class.
        number: digits of the clip in its group.
    """

    class_name: str
    group: str
    number: str

    def __str__(self) -> str:
        return f"v_{self.class_name}_g{self.group}_c{self.number}"


def parse_clip_name(name: str) -> ClipName | None:
    """The parts of `v_Class_gNN_cNN`, with a suffix or without; None for any other name."""
    found = _FORM.fullmatch(name)
    if found is None:
        return None
    return ClipName(official_spelling(found["class_name"]), found["group"], found["number"])


def choose_classes(wanted: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The classes wanted, in the order of those known: positions here are the new labels.

    Args:
        wanted: names, in any order.
        known: the classes there are, in label order.

    Raises:
        PreprocessError: if none is wanted, one is wanted twice or one is not known.
    """
    names = [official_spelling(name) for name in wanted]
    if not names:
        raise PreprocessError("classes must be at least one class. Received none.")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise PreprocessError(
            f"classes must be some of the {len(known)} classes here. Received {unknown[0]}. "
            f"{_suggestion(unknown[0], known)}"
        )
    twice = [name for name in set(names) if names.count(name) > 1]
    if twice:
        raise PreprocessError(f"classes must name each class once. Received {min(twice)} twice.")
    return tuple(name for name in known if name in names)


def require_clips(class_names: Sequence[str], found: Collection[str], folder: Path) -> None:
    """Refuse classes that no clip shows.

    Args:
        class_names: the classes chosen.
        found: the classes of the clips at hand.
        folder: where those lie.

    Raises:
        PreprocessError: if a class chosen is not found.
    """
    without = [name for name in class_names if name not in found]
    if without:
        raise PreprocessError(
            f"No clips of {', '.join(without)} in {folder}; add some or leave the class out."
        )


def _suggestion(name: str, known: Sequence[str]) -> str:
    return did_you_mean(name, known) or f"They are {', '.join(known)}."
