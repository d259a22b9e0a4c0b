"""Errors, files and digests: what every other room may use."""
