"""Data sets: a content-addressed store, imports from what people have, images in memory."""
