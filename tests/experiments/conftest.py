"""A tiny data set in shards, for the training tests; a cache of the tests' own."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """No test reads or writes the thread settings of the person who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def empty_cache(tmp_path_factory, monkeypatch):
    """No test reads the thread settings that another has kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    """The built-in set in small: 11 classes, 5 groups of one clip each."""
    from preprocess.sources.synthetic import render_dataset

    root = tmp_path_factory.mktemp("videos")
    render_dataset(root, groups_per_class=5, clips_per_group=1, jobs=2, progress=False)
    return root


@pytest.fixture(scope="session")
def small_shards(videos, tmp_path_factory):
    """Its frames at 16x12."""
    from preprocess.extraction.extract import extract
    from preprocess.shards.settings import FrameSettings

    folder = tmp_path_factory.mktemp("shards") / "demo"
    extract(videos, folder, FrameSettings(size=(16, 12)), jobs=2, dataset="demo")
    return folder
