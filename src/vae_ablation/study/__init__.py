"""The config, the axes and metrics, runs, and the plan of packs. No torch."""
