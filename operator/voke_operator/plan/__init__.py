"""The plan: from what people declared and what is observed to what is to be done.

Pure: plain data in, plain data out. No Kubernetes, no clock, no disk. The operator calls its parts for one
plant or one shard at a time, ``voke plan`` the whole, ``voke run`` what a single machine needs of it.
"""
