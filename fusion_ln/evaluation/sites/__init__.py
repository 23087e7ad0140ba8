"""A model at several sites: its figures at each, how far they differ, and what to expect of a new one."""
