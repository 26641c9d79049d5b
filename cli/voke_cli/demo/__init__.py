"""``voke demo``: simulated plants, a local Voke, and the real gateway between them."""
