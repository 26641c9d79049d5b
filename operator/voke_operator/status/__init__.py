"""What is said about Plants and pools: conditions, Events, and how often. Pure: no Kubernetes in here."""
