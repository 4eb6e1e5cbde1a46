"""What is wrong with rows, one by one and among each other."""
