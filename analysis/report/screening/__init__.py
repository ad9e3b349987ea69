"""Tables and plots of a screening, and of the two stages that it makes with its follow-up."""
