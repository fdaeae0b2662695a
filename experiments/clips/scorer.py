"""Files of a trained scorer in a run's directory; `scorer_model` loads it.

A run holds the model, `best.keras`, and beside it `scorer.json`: the settings of its pictures, the
box that shows the excitement and the suggested threshold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import write_atomically
from experiments.clips.images import Box, ImageSettings

FILE = "scorer.json"
MODEL = "best.keras"
VERSION = 1


class ScorerError(InputError):
    """Error for a directory without a usable scorer; the message says what to do."""


def write_scorer(
    run_dir: Path,
    settings: ImageSettings,
    *,
    box: Box | None,
    threshold: float,
    doubts: Sequence[str] = (),
) -> None:
    """Write `scorer.json` for a run's `best.keras`, so that `load_scorer` finds it.

    Args:
        run_dir: directory of the run.
        settings: settings of the scorer's pictures.
        box: box that all training clips were labelled with; None if they differed.
        threshold: suggested threshold.
        doubts: reasons not to trust the threshold on other recordings.
    """
    content = {
        "version": VERSION,
        "model": MODEL,
        # Ties the settings to one model: a file that is copied alone from another run is refused.
        "sha256": digest_of(run_dir / MODEL),
        "settings": settings.to_json(),
        "box": None if box is None else list(astuple(box)),
        "threshold": threshold,
        # Left out where there are none, so that files from before they existed stay the same.
        **({"doubts": list(doubts)} if doubts else {}),
    }
    write_atomically(run_dir / FILE, json.dumps(content, indent=2).encode())


def require_scorer(run_dir: Path) -> None:
    """Check that a directory looks like a run of `train`, without loading it.

    Raises:
        ScorerError: if it does not.
    """
    if not (run_dir / FILE).is_file():
        # Raises the error that says why there is no such file.
        read_content(run_dir)
    if not (run_dir / MODEL).is_file():
        raise no_model_error(run_dir / MODEL)


def trained_sound_track(run_dir: Path) -> int:
    """Read the number of the sound track that a scorer was trained on, from 0.

    A directory without a scorer gives 0: `load_scorer` says later what is wrong with it.
    """
    try:
        settings = json.loads((run_dir / FILE).read_bytes())["settings"]
        return int(settings.get("sound_track", 0))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0


def read_content(run_dir: Path) -> dict[str, Any]:
    """Read scorer.json, and check its version."""
    path = run_dir / FILE
    if not path.is_file():
        # A run begins with config.json and ends with scorer.json.
        if (run_dir / "config.json").is_file():
            raise ScorerError(
                f"The training in {run_dir} did not come to its end: it has no {FILE}. Give its "
                "command again, with --resume."
            )
        raise ScorerError(
            f"A scorer is a directory with {FILE}. {run_dir} has none; make one with python -m "
            f"experiments.highlights train LABELS SHARDS --out {run_dir}"
        )
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        # Not JSON, or not text.
        raise damaged_error(path, error) from error
    if not isinstance(content, dict):
        raise damaged_error(path, "it holds no object")
    if content.get("version") != VERSION:
        raise ScorerError(
            f"{path} must be of version {VERSION}. Received {content.get('version')!r}; train "
            "again with this release."
        )
    return content


def no_model_error(path: Path) -> ScorerError:
    """Error of a scorer whose model, at `path`, is missing."""
    return ScorerError(f"{path.parent} holds {FILE} but not {MODEL}; copy both, or train again.")


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damaged_error(path: Path, error: object) -> ScorerError:
    """Error of a damaged file of a scorer, with the first line of the reason."""
    lines = f"{error!r}".splitlines() if isinstance(error, KeyError) else f"{error}".splitlines()
    reason = lines[0] if lines else "no more is known"
    return ScorerError(f"{path} is damaged: {reason} Copy it from the run again, or train again.")
