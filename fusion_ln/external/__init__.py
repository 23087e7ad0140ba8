"""Evaluation of a frozen model on the cohort of another hospital: answered once, with everything fixed before."""
