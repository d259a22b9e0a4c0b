"""Figures, findings, pages and the latent explorer."""
