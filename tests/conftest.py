"""Property tests try the same examples in every run, so that a red one is red for everybody."""

from hypothesis import settings

settings.register_profile("same examples", derandomize=True)
settings.load_profile("same examples")
