"""Bytes as files, read within bounds of memory."""

import pytest

from tests.weights.torch_pickles import measured
from weights import read_torch_file


@pytest.fixture
def saved(tmp_path):
    """Write bytes as a file."""

    def save(content):
        path = tmp_path / "a.pth"
        path.write_bytes(content)
        return path

    return save


@pytest.fixture
def read(saved):
    """Read bytes as a file; what is read must not need much more memory than it has."""

    def read_bytes(content, reader=read_torch_file):
        return measured(reader, saved(content))

    return read_bytes
