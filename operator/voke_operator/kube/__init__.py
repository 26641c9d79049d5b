"""The operator's edge to Kubernetes: client, watches, what they have seen, and the Lease that says who leads."""
