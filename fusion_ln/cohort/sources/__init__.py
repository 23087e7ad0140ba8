"""Readers of raw archives, one file each; see `fusion_ln.cohort.source`."""
