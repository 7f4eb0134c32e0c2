"""The ground floor: errors, identifiers, clock, randomness and the stages of an update."""
