"""jade-env: retrieval-augmented question answering as a multi-agent game."""
