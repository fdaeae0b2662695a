"""Some classes of a data set, by name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from common.command_line import did_you_mean
from preprocess.errors import PreprocessError
from preprocess.sources.catalog import official_spelling


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
