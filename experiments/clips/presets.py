"""Presets: a trained model as a folder of its own, with its labels and a card, to give away.

A preset is what a run of a job on clips needs for new videos. It goes to the Hugging Face hub and
comes from there by the hub's own library.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.extras import MissingExtraError, OptionalModule
from common.files import write_text
from experiments.clips.viewed_model import ClipInputSpec
from experiments.runs.files import read_object
from experiments.runs.run import CONFIG, MODEL, MODEL_SETTINGS, RESULT, require_model, require_place

# Needed for the hub alone.
huggingface_hub: Any = OptionalModule("huggingface_hub")

HUB = "hf://"
LABELS, CARD = "labels.txt", "README.md"
_FILES = (MODEL, MODEL_SETTINGS, CONFIG, RESULT)


def save_to_preset(run_dir: Path, folder: Path) -> Path:
    """Write a finished run's model, settings, labels and card to a new folder; returns it.

    Raises:
        ClipModelError: if the run is not finished.
        InputError: if the folder holds anything already.
    """
    require_model(run_dir)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"A preset needs a folder of its own. Received {folder}; name a new one.")
    require_place(folder, flag="folder")
    spec = ClipInputSpec.from_json(read_object(run_dir / MODEL_SETTINGS))
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / LABELS, "".join(f"{name}\n" for name in spec.class_names))
    write_text(folder / CARD, _card(spec, read_object(run_dir / RESULT)))
    # model.json last, as a run has it: a folder with it holds a whole model.
    for name in (MODEL, CONFIG, RESULT, MODEL_SETTINGS):
        if (run_dir / name).exists():
            shutil.copyfile(run_dir / name, folder / name)
    return folder


def find_preset(source: str) -> Path:
    """Return the folder of a preset; one of the hub, hf://OWNER/NAME, is downloaded first.

    Raises:
        InputError: if the hub does not give it.
        MissingExtraError: if the hub's library is not installed.
    """
    if not source.startswith(HUB):
        return Path(source)
    try:
        folder = huggingface_hub.snapshot_download(
            source.removeprefix(HUB), allow_patterns=[*_FILES, LABELS, CARD]
        )
    except MissingExtraError:
        raise
    except Exception as error:  # the hub's library raises those of its HTTP client, too
        raise InputError(f"The hub does not give {source}: {_line(error)}") from error
    return Path(folder)


def push_to_hub(folder: Path, name: str, *, private: bool) -> str:
    """Upload the folder of a preset to the Hugging Face hub; returns its address.

    Args:
        folder: folder that `save_to_preset` wrote.
        name: OWNER/NAME on the hub.
        private: whether only its owner may see it, if it is new.

    Raises:
        InputError: if the hub does not take it.
        MissingExtraError: if the hub's library is not installed.
    """
    try:
        hub = huggingface_hub.HfApi()
        hub.create_repo(name, private=private, exist_ok=True)
        hub.upload_folder(repo_id=name, folder_path=folder)
    except MissingExtraError:
        raise
    except Exception as error:  # the hub's library raises those of its HTTP client, too
        raise InputError(f"The hub does not take {name}: {_line(error)}") from error
    return f"{HUB}{name}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _card(spec: ClipInputSpec, result: Mapping[str, Any]) -> str:
    """Model card: front matter for the hub, then what the model does and how it was tested."""
    width, height = spec.frames.size
    lines = [
        "---",
        "library_name: keras",
        "pipeline_tag: video-classification",
        "tags: [keras, ttrnn, video-classification]",
        "---",
        "",
        f"# {result.get('model', 'Model')} for {len(spec.class_names)} classes of clips",
        "",
        "Trained with ttrnn: Tensor-Train layers and video classification on Keras 3.",
        "",
        "```py",
        "from experiments import from_preset",
        "",
        'from_preset("FOLDER").predict("new.mp4").to_pandas()',
        "```",
        "",
        f"- Input: RGB frames of {width}x{height}, every {spec.frames.stride}. of a video.",
        f"- Classes: {', '.join(spec.class_names)}.",
    ]
    if "accuracy" in result:
        interval = result.get("accuracy_interval", {})
        low, high = (interval.get(key, float("nan")) for key in ("low", "high"))
        lines += [
            f"- Data set: {result.get('dataset')}; recipe {result.get('recipe')}; split "
            f"{result.get('split')}.",
            f"- Test accuracy: {result['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f}; "
            f"chance {result.get('chance', float('nan')):.3f}) on "
            f"{result.get('num_test_clips')} clips, of which "
            f"{result.get('num_test_clips_with_sibling')} have a sibling of their scene in "
            "training.",
        ]
    return "\n".join(lines) + "\n"
