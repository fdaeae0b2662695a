"""Clips of the demo set, and settings for commands in the tests' own process."""

import pytest

from preprocess.system import stopping


@pytest.fixture(scope="session")
def demo_videos(tmp_path_factory):
    """Folder with one clip per class of the built-in set."""
    from preprocess.sources.synthetic import render_dataset

    root = tmp_path_factory.mktemp("demo")
    render_dataset(root, groups_per_class=1, clips_per_group=1, jobs=1, progress=False)
    return root


@pytest.fixture
def started(monkeypatch):
    """Let commands leave the thread pools and signals of the tests' process as they are."""
    from experiments.process import runtime

    monkeypatch.setattr(runtime, "configure", lambda threads, seed: None)
    monkeypatch.setattr(stopping, "answer_signals", lambda resume_hint: None)
