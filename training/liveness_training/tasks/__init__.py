"""What is learned: a task owns its networks and turns a batch into losses; the loop knows no method."""
