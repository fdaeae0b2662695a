"""Classification of every frame of videos by an image model, into a table and a summary each."""
