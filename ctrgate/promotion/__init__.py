"""What a promotion rests on: the rules, what they are judged by, and the record of it."""
