"""A rendered stream, and how good its reel is."""
