"""Protected inner products: a partner learns noised sums of numbers it cannot read."""
