"""Limits of 95 % intervals in closed form; every function takes any number of samples at once."""
