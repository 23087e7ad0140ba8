"""The gate that every request passes: admission, measuring, policies, problems and logs."""
