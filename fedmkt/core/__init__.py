"""The ground floor: errors, clock, frozen values and the stages of an update."""
