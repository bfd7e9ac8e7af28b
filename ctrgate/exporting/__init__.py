"""Parts of the verb ``export``: what is written, the proof that it scores alike, the curve that is fitted."""
