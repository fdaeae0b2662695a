"""Training of a scorer from labelled pictures."""
