"""Work on several processes or machines, by Ray: the only place that imports it, once a run asks for it."""
