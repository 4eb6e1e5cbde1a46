"""What a model sees of a row: its tokens, which of them are trained, and a preview for people."""
