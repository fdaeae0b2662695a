"""The report of a run as HTML: `report.html`, and `predictions.html` with every test clip."""
