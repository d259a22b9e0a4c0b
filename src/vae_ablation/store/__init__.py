"""Runs on disk: written, loaded, joined and pruned."""
