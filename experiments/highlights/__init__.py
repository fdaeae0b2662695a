"""Highlights: from a few labelled clips to an automatic reel of a long recording."""
