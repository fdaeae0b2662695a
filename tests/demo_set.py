"""The built-in demo set as an input of tests, rendered once for all their processes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

SHARED_FOLDER = "TTRNN_TESTS_DEMO_SET"
"""Environment variable with the folder that the processes of a test session share."""


def write_demo_set(folder: Path) -> None:
    """Write 55 clips: 11 classes of 5 groups of one clip each.

    Rendering takes 8 seconds of a core, and a dozen test files need these clips. In a test session
    they are copied from the session's own, which the first who needs them renders: `render_dataset`
    lets the others wait, and renders nothing twice.
    """
    from preprocess.sources.synthetic import render_dataset

    shared = os.environ.get(SHARED_FOLDER)
    source = Path(shared) if shared else folder
    render_dataset(source, groups_per_class=5, clips_per_group=1, jobs=1, progress=False)
    if source != folder:
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns(".lock"), dirs_exist_ok=True)
