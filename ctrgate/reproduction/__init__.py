"""Parts of the verb ``reproduce``: what a run recorded, the verbs that do it again, and what came out."""
