"""``kubectl voke``: a person's hand on a fleet that runs in a cluster."""
