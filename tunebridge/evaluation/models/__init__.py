"""The models under test: everything that answers prompts, behind one contract."""
