"""What the gateway costs and carries, measured from outside. Method and figures: docs/performance.md."""
