"""The trainer beside its peer, TRL: the same job gives the same losses and the same weights."""
