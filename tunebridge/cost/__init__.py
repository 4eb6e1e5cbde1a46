"""What a job will cost: dated prices, billing lines, a model of time and memory; pure, offline, without a key."""
