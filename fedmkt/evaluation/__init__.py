"""Evaluation: metrics with intervals, curves with bands, and what a model says about features.

Nothing here adds noise. Metrics over customers' rows are releases like any other; call these
functions on public evaluation data, or inside a node on what stays there.
"""
