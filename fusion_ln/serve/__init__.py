"""The web server: a model behind an HTTP interface (extra `web`)."""
