"""What every request passes: admission, measuring, policies, problems and logs."""
