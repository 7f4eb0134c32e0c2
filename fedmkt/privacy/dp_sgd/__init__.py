"""One step of DP-SGD: who is drawn, the clipped sum of their gradients, its noise and its cost."""
