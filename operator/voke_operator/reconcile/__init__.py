"""What is to be looked at next, by whom, and when again."""
