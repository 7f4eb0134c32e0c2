"""Bytes between a coordinator and its nodes: a channel, Flower behind it, a grid in process."""
