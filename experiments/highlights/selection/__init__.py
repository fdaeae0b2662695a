"""Selection of a reel's segments from the scores of a recording."""
