"""The rules of the game, in pure Python."""
