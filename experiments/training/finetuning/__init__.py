"""What fits a trained model to a small data set; nothing here knows of a job."""
