"""Zip archives and folders of pictures: checked, then read one at a time. Nothing is written under a member's name."""
