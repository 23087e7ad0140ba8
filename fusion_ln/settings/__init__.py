"""Settings of runs: small frozen models, read from options and experiment files."""
