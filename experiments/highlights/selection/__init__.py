"""Scores to the segments of a reel."""
