"""A folder that any web space serves, and that predicts in the browser."""
