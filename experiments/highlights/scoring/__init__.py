"""Pictures for a scorer, its network, and the scores of a recording."""
