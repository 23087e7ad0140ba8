"""The interface `/api/v1`, a module per resource."""
