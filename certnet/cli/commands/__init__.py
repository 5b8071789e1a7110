"""The options of the commands that train."""
