"""Credentials of a plant: how they are made, and how they become what a gateway is given.

Pure: no Kubernetes, no files. The operator keeps them in Secrets, ``voke run`` in its state directory.
"""
