"""A line camera that exists only as a process: line clock, optics, frames over HTTP."""
