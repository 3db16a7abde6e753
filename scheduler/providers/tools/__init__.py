"""What providers share: HTTP with bounds, JSON with limits, prompts, searches and answers."""
