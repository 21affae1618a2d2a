"""How an upload is scored: preparation, batching, and the rules that make a verdict of scores."""
