"""Labelled pictures to a scorer."""
