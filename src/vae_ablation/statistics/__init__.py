"""What a study's numbers say: contrasts, importance of axes, undominated arms, failures. No torch.

Tables in (metrics.csv as `tables.read_metrics` reads it), tables out.
"""

from vae_ablation.statistics.contrasts import contrasts
from vae_ablation.statistics.failures import failures
from vae_ablation.statistics.importance import importance
from vae_ablation.statistics.pareto import pareto

__all__ = ["contrasts", "failures", "importance", "pareto"]
