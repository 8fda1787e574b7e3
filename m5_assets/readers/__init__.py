"""From the lake to arrays: the inputs known at an origin, sales, and the weights and scales of the score."""
