"""Plans and payments."""
