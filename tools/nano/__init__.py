"""Build the embedded model tunebridge/nano from openly licensed text and generated tasks."""
