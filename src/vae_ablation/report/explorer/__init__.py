"""The latent explorer: one self-contained page per dataset, in which a decoder draws live."""

from vae_ablation.report.explorer.page import REPORT_BYTES, write_explorer, write_explorers

__all__ = ["REPORT_BYTES", "write_explorer", "write_explorers"]
