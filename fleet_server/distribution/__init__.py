"""Distribution: answers what devices ask for, and broadcasts a bundle once for a whole wave."""
