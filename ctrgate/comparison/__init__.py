"""Parts of the verb ``compare``: the rows, what each side says of them, segments, words and the page."""
