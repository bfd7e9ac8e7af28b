"""The daily pipeline: check a day's rows, train on what came before it, compare with the champion, promote, score."""
