"""A model on another cohort: what it is judged by there, and in what the two cohorts differ."""
