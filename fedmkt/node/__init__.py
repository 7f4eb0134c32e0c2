"""A partner's node: what to do with each message, and what its engineer can ask of it."""
