"""Lists of a reel's cuts, for people and for editing programs."""
