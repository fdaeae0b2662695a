"""Segments as lists for people and editing programs."""
