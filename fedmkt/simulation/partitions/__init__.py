"""Who holds what in a simulated collaboration, who takes part in a round, and how long it takes.

Guarantee: no files (except in `tables`) and no clock; the same seed gives the same result under the
same version of numpy. Not guaranteed: that parts made here resemble what partners would hold;
they are synthetic and are to be called so.
"""
