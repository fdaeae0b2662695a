"""Whole architectures, one a file."""
