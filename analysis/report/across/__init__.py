"""What a report says of several data sets: the effect of each component on each of them, and across them."""
