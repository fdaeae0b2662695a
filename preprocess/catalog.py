"""The data sets this suite knows by name, as data. Any other folder needs no record."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


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
    """

    name: str
    title: str
    class_names: tuple[str, ...]
    num_clips: int
    layout: str
    homepage: str | None
    default_videos_dir: str


_UCF11_LAYOUT = "class/v_name_NN/v_name_NN_MM.mpg"

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

DATASETS = {dataset.name: dataset for dataset in (UCF11,)}


def resolve(
    name: str | None, class_names: Collection[str], folder_name: str
) -> tuple[str, tuple[str, ...]]:
    """Name and classes of a data set, from what it was called and what was found.

    Args:
        name: what it was called, if anything.
        class_names: the classes found in its folder.
        folder_name: of its folder.

    Returns:
        The name, and the classes in label order. A record of the catalogue gives all of its
        classes, though some may have no clip here; but where other classes are found, it is
        not that data set, and goes by its folder's name.
    """
    record = DATASETS.get(name or "")
    if record and set(class_names) <= set(record.class_names):
        return record.name, record.class_names
    own_name = folder_name if record or name is None else name
    return own_name, tuple(sorted(set(class_names)))
