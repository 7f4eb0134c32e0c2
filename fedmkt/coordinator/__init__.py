"""The coordinator: asks the partners' nodes, adds what they give, and keeps what it was told."""
