"""Distributions, likelihoods, networks, the VAE and its objectives."""
