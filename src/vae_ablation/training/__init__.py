"""Packs of runs trained as one batched program."""
