"""Zip archives of pictures: checked, then read one picture at a time. Nothing is written under a member's name."""
