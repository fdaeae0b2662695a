"""What a scorer sees, what it is, and the scores of a recording."""
