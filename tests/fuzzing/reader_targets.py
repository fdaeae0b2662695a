"""All readers."""

from __future__ import annotations

from .readers_of_arrays import ARRAYS
from .readers_of_models import MODELS
from .readers_of_tables import TABLES

READERS = (*TABLES, *ARRAYS, *MODELS)
