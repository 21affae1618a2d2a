"""From an upload to a verdict: model, preparation, batching, rules."""
