"""The two TUF repositories that the server keeps: image (what exists) and director (who runs what)."""
