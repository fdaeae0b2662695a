"""Rendering of a recording's segments to a reel, with the ffmpeg program."""
