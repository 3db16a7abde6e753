"""The queues that are compared, one a file. Each is imported only where its library is installed.

The docstring of each says how it is configured, and why that favours it.
"""
