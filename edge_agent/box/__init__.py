"""For the person at the box: what runs here, what it sees, what is wrong, and the way back."""
