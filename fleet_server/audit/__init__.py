"""An append-only, hash-chained log of every change by a person or a rule."""
