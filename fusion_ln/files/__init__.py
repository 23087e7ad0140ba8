"""Files: atomic writes, locks, formats, hashes and names."""
