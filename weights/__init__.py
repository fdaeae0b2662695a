"""Other people's weights, read safely into models that are given."""

from weights.legacy_tt import load_legacy_tt

__all__ = ["load_legacy_tt"]
