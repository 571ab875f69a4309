"""Hardware profiles: one validated file a board, and what is rendered from it."""
