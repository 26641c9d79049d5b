"""``voke verify`` and ``voke sign``: one message in hand, and what Voke makes of it."""
