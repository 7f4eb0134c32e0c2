"""Evaluation: metrics with intervals and curves with bands.

Nothing here adds noise. Metrics over customers' rows are releases like any other; call these
functions on public evaluation data, or inside a node on what stays there.
"""
