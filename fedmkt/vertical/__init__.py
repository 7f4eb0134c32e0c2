"""Vertical training: members hold different columns of the same customers; one owns the labels.

The mathematics without cryptography or messages: what the label owner hands out (`residuals`), what
a party makes of its sums (`small_bins`, `plausible`, `party`), what leaves a node (`plan`), a
student for one partner (`student`), and the same in one place, with what can be guessed from it
(`twin`, `columns_guess`).

Split networks, which show numbers of each customer, stand apart: their shape (`split_shape`), both
sides (`split_network`, `split_noise`), what leaves (`split_plan`), all in one place (`split_twin`).
"""
