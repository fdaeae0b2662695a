"""Rendered stream of the demo, and measures of its reel."""
