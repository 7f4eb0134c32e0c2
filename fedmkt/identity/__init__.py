"""Who speaks: long-lived keys, signatures, sealed values and the signed hash chain."""
