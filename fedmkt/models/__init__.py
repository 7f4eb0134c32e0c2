"""Models and the tasks they serve. Nothing here sees a customer's identifier or leaves a node."""
