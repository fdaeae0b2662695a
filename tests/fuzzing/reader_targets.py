"""List of all readers that are given damaged files."""

from __future__ import annotations

from tests.fuzzing.readers_of_arrays import ARRAYS
from tests.fuzzing.readers_of_exchange import EXCHANGE
from tests.fuzzing.readers_of_models import MODELS
from tests.fuzzing.readers_of_tables import TABLES

READERS = (*TABLES, *EXCHANGE, *ARRAYS, *MODELS)
