"""Partners that spoil, bend or do not earn a federated network, and the rules that resist them."""
