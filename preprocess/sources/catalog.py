"""Catalogue of the known data sets, with the names of their classes and clips."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from common.errors import did_you_mean
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
_UCF50_CLASSES = """
    BaseballPitch Basketball BenchPress Biking Billiards BreastStroke CleanAndJerk Diving Drumming
    Fencing GolfSwing HighJump HorseRace HorseRiding HulaHoop JavelinThrow JugglingBalls JumpRope
    JumpingJack Kayaking Lunges MilitaryParade Mixing Nunchucks PizzaTossing PlayingGuitar
    PlayingPiano PlayingTabla PlayingViolin PoleVault PommelHorse PullUps Punch PushUps
    RockClimbingIndoor RopeClimbing Rowing SalsaSpin SkateBoarding Skiing Skijet SoccerJuggling
    Swing TaiChi TennisSwing ThrowDiscus TrampolineJumping VolleyballSpiking WalkingWithDog YoYo
"""
_HMDB51_CLASSES = """
    brush_hair cartwheel catch chew clap climb climb_stairs dive draw_sword dribble drink eat
    fall_floor fencing flic_flac golf handstand hit hug jump kick kick_ball kiss laugh pick pour
    pullup punch push pushup ride_bike ride_horse run shake_hands shoot_ball shoot_bow shoot_gun
    sit situp smile smoke somersault stand swing_baseball sword sword_exercise talk throw turn walk
    wave
"""
# The suffix is matched here, not cut off before: a folder of frames, which has none, may have a
# dot in its class, v_St. John_g01_c02.
_FORM = re.compile(
    r"v_(?P<class_name>.+)_g(?P<group>[0-9]+)_c(?P<number>[0-9]+)(?:\.[^.\s]+)?", re.ASCII
)
# The video, the class, the part of the body that is seen, camera motion, people, viewpoint,
# quality and number: April_09_brush_hair_u_nm_np1_ba_goo_0.avi.
_HMDB51_FORM = re.compile(
    r"(?P<video>.+)_[hufl]_[nc]m_np[0-9]+_(?:fr|ba|le|ri)_(?:goo|med|bad)_[0-9]+(?:\.[^.\s]+)?",
    re.ASCII,
)
# Number of the clip, session, number in the session, person: 0094_03_002_al_gore.avi.
_CELEBRITIES_FORM = re.compile(
    r"[0-9]{4}_(?P<session>[0-9]{2})_[0-9]{3}_(?P<person>[^\W\d]\w*?)(?:\.[^.\s]+)?", re.ASCII
)


@dataclass(frozen=True)
class Dataset:
    """Properties of a data set that are known before any of its files is opened.

    Args:
        name: its name in commands and result rows.
        title: its full name.
        class_names: the classes, in label order; empty where the names of the clips tell them.
        num_clips: number of clips of the whole set.
        layout: path of a clip below the videos folder.
        homepage: web page that describes and offers it; None for the built-in set.
        default_videos_dir: folder in which commands look for it by default.
        default_lists_dir: folder of its official train and test lists, if it has any.
        other_spellings: pairs of a class's spelling in file names and its name.
        num_splits: number of its official splits.
        num_people: number of classes where `class_names` is empty.
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
    num_splits: int = 0
    num_people: int = 0

    @property
    def num_classes(self) -> int:
        """Number of classes of the whole set."""
        return len(self.class_names) or self.num_people


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
    num_splits=3,
)

UCF50 = Dataset(
    name="ucf50",
    title="UCF50, the action recognition data set that UCF101 extends",
    class_names=tuple(_UCF50_CLASSES.split()),
    num_clips=6681,
    layout="class/v_class_gNN_cNN.avi",
    homepage="https://www.crcv.ucf.edu/data/UCF50.php",
    default_videos_dir="data/UCF50",
    other_spellings=(("Billards", "Billiards"),),
    num_splits=25,  # each tests one group of every class
)

HMDB51 = Dataset(
    name="hmdb51",
    title="HMDB51, the human motion database",
    class_names=tuple(_HMDB51_CLASSES.split()),
    num_clips=6766,
    layout="class/video_class_u_nm_np1_ba_goo_0.avi",
    homepage="https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/",
    default_videos_dir="data/hmdb51",
    default_lists_dir="data/testTrainMulti_7030_splits",
    num_splits=3,
)

HOLLYWOOD2 = Dataset(
    name="hollywood2",
    title="Hollywood2, actions in films, of which a clip may show several",
    class_names=(
        "AnswerPhone",
        "DriveCar",
        "Eat",
        "FightPerson",
        "GetOutCar",
        "HandShake",
        "HugPerson",
        "Kiss",
        "Run",
        "SitDown",
        "SitUp",
        "StandUp",
    ),
    num_clips=1707,
    layout="AVIClips/actioncliptrainNNNNN.avi and ClipSets/CLASS_train.txt",
    homepage="https://www.di.ens.fr/~laptev/actions/hollywood2/",
    default_videos_dir="data/Hollywood2",
    num_splits=1,
)

CELEBRITIES = Dataset(
    name="youtube_celebrities",
    title="YouTube Celebrities, faces of 47 people",
    class_names=(),
    num_clips=1910,
    layout="NNNN_SS_NNN_first_last.avi",
    homepage="http://seqamlab.com/youtube-celebrities-face-tracking-and-recognition-dataset/",
    default_videos_dir="data/ytcelebrity",
    num_splits=5,
    num_people=47,
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

DATASETS = {
    dataset.name: dataset
    for dataset in (UCF11, UCF101, UCF50, HMDB51, HOLLYWOOD2, CELEBRITIES, DEMO)
}
_OTHER_SPELLINGS = dict(
    spelling for dataset in DATASETS.values() for spelling in dataset.other_spellings
)


def official_spelling(class_name: str) -> str:
    """Replace a spelling of file names by the class's name; return any other name unchanged."""
    # Accented letters become single code points, for some systems write file names with two.
    class_name = unicodedata.normalize("NFC", class_name)
    return _OTHER_SPELLINGS.get(class_name, class_name)


def resolve(
    name: str | None, class_names: Collection[str], folder_name: str
) -> tuple[str, tuple[str, ...]]:
    """Determine name and classes of a data set from the name given and the classes found.

    Args:
        name: the name given, or None.
        class_names: the classes found in its folder.
        folder_name: name of its folder.

    Returns:
        The name, and the classes in label order. A record of the catalogue that is given by name
        has all of its classes, even if some have no clip here, unless other classes were found:
        then it is not that data set. A folder with exactly a record's classes is that record,
        whatever its name. Any other set has the name given, or its folder's.
    """
    found = set(class_names)
    called = DATASETS.get(name or "")
    # A subset of the classes keeps the whole set's labels, so that models of both fit.
    if called and called.class_names and found <= set(called.class_names):
        return called.name, called.class_names
    if called is CELEBRITIES:
        return called.name, tuple(sorted(found))
    # Without a name, or with a wrong one, only the complete set of classes identifies a record.
    for record in DATASETS.values():
        if found == set(record.class_names):
            return record.name, record.class_names
    return (folder_name if called or name is None else name), tuple(sorted(found))


class ClipName(NamedTuple):
    """Parts of a clip's name; two spellings of one clip's name are equal.

    Args:
        class_name: name of the class, whichever way the clip's name spells it.
        group: digits of the scene, unique within its class.
        number: digits of the clip in its group.
    """

    class_name: str
    group: str
    number: str

    def __str__(self) -> str:
        return f"v_{self.class_name}_g{self.group}_c{self.number}"


def parse_clip_name(name: str) -> ClipName | None:
    """Parse `v_Class_gNN_cNN`, with or without a suffix; None for any other name."""
    found = _FORM.fullmatch(name)
    if found is None:
        return None
    return ClipName(official_spelling(found["class_name"]), found["group"], found["number"])


def parse_hmdb51_video(name: str, class_name: str) -> str | None:
    """Name of the video that a clip of HMDB51 was cut from; None for a name of another form."""
    found = _HMDB51_FORM.fullmatch(name)
    return found["video"].removesuffix(f"_{class_name}") if found else None


class CelebrityName(NamedTuple):
    """Person of a clip of YouTube Celebrities, and the session, a video that was cut into clips."""

    person: str
    session: str


def parse_celebrity_name(name: str) -> CelebrityName | None:
    """Parse `NNNN_SS_NNN_first_last`, with or without a suffix; None for any other name."""
    found = _CELEBRITIES_FORM.fullmatch(name)
    return CelebrityName(found["person"], found["session"]) if found else None


def recognize(class_names: Collection[str], sources: Sequence[str], folder_name: str) -> str | None:
    """Name of the data set that a folder's clips are of by their names; None if they tell none.

    Args:
        class_names: the classes found.
        sources: sources of the clips.
        folder_name: name of the folder.
    """
    names = [source.rpartition("/")[2] for source in sources]
    if all(parse_celebrity_name(name) for name in names):
        return CELEBRITIES.name
    if set(class_names) <= set(HMDB51.class_names) and all(map(_HMDB51_FORM.fullmatch, names)):
        return HMDB51.name
    # UCF101 calls its clips in the same way, and has all of these classes, so that some of UCF50's
    # are known by their folder only.
    usual = Path(UCF50.default_videos_dir).name
    if folder_name.lower() == usual.lower() and set(class_names) <= set(UCF50.class_names):
        return UCF50.name if all(map(parse_clip_name, names)) else None
    return None


def choose_classes(wanted: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Sort the classes wanted by label; their positions in the result are the new labels.

    Args:
        wanted: names of classes, in any order.
        known: the known classes, in label order.

    Raises:
        PreprocessError: if none is wanted, one is wanted twice or one is not known.
    """
    # In the order of the labels and not of the arguments: `--classes b a` means the same as `a b`.
    names = [official_spelling(name) for name in wanted]
    if not names:
        raise PreprocessError("classes must be at least one class. Received none.")
    unknown = [name for name in names if name not in known]
    if unknown:
        meant = did_you_mean(unknown[0], known) or f"They are {', '.join(known)}."
        raise PreprocessError(
            f"classes must be some of the {len(known)} classes here. Received {unknown[0]}. {meant}"
        )
    twice = [name for name in set(names) if names.count(name) > 1]
    if twice:
        raise PreprocessError(f"classes must name each class once. Received {min(twice)} twice.")
    return tuple(name for name in known if name in names)


def require_clips(class_names: Sequence[str], found: Collection[str], folder: Path) -> None:
    """Refuse classes without clips.

    Args:
        class_names: the classes chosen.
        found: the classes of the clips found.
        folder: folder of the clips.

    Raises:
        PreprocessError: if a class chosen is not found.
    """
    without = [name for name in class_names if name not in found]
    if without:
        raise PreprocessError(
            f"No clips of {', '.join(without)} in {folder}; add some or leave the class out."
        )
