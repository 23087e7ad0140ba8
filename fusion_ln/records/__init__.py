"""Records of runs, `run.json`: settings, cohort, versions, hardware and time of each fit."""
