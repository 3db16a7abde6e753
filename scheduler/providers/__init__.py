"""What stands between a handler and an outside service that does the work."""
