"""Horizontal training: partners hold the same columns for their own customers.

One round as pure functions: what a node sums (`local_update`), what will leave it (`plan`), what
the server makes of the sums (`newton`), and the same without any exchange (`pooled`).
"""
