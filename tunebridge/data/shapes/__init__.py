"""What several services' shapes of row have in common: codes of losses, turns, calls, prompts, and two dialects."""
