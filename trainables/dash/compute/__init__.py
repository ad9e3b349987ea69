"""How steps are computed: ranks, seeds, exact and fast modes, progress. Knows no net and no data set."""
