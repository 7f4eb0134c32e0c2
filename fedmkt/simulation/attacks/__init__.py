"""Attacks on privacy, each with its figure: run with a protection on and off.

`membership` asks who was in a training, `canaries` how much of one customer a training's releases
show, `inversion` and `inspection` what one partner's update tells, `collusion` what colluding
partners learn of the others.
"""
