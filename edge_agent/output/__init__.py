"""What the line hears of each verdict, and the guard that never lets it hear an old one."""
