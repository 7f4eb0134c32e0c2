"""Real processes: keys and invitations, preflight, up and down, supervision."""
