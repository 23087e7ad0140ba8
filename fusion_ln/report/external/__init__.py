"""The page of a model on another cohort."""
