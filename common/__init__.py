"""Helpers that all packages may use: errors, atomic files, typed CSV rows, command lines."""
