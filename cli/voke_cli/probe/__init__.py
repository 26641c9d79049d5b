"""``voke probe``: which register is wrong, and what would make it right."""
