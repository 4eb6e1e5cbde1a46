"""How many tokens rows have for a model, exact or within an interval."""
