"""Clips of the demo set, and a command line in the tests' own process."""

import pytest


@pytest.fixture(scope="session")
def demo_videos(tmp_path_factory):
    """A clip a class of the built-in set."""
    from preprocess.sources.synthetic import render_dataset

    root = tmp_path_factory.mktemp("demo")
    render_dataset(root, groups_per_class=1, clips_per_group=1, jobs=1, progress=False)
    return root


@pytest.fixture
def started(monkeypatch):
    """The tests' own process has its thread pools and signals already."""
    from experiments.process import runtime

    monkeypatch.setattr(runtime, "configure", lambda threads, seed: None)
    monkeypatch.setattr(runtime, "answer_signals", lambda going_on: None)
