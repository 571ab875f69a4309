"""Where frames come from: each source numbers its triggers and never skips one silently."""
