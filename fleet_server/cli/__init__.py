"""The command lines of the server and of its operators."""
