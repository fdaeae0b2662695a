"""Local web page for the review of a recording's chosen highlights."""
