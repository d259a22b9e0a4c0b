"""Errors, files and digests, for every other package."""
