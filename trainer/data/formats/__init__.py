"""What people have: one module a file format, each a reader of rows; `picture`, `shapes` and `rle` beneath."""
