"""Simulated PLCs and a local Voke, for demos and tests. Not in the images."""
