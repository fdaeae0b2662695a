"""A recording and the segments of it to a reel, with the ffmpeg program."""
