"""One file per network, named as its paper names it."""
