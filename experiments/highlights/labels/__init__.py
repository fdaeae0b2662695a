"""Which stretches of which clips are highlights."""
