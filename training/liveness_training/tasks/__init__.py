"""Methods: a task owns its networks and turns a batch into losses; the loop knows nothing of them."""
