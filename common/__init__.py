"""What every package here may use, and what knows none of them: errors, files, CSV rows, flags."""
