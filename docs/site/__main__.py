"""``python -m docs.site``: put the pages together under ``build/docs``, for mkdocs."""

from docs.site.pages import ROOT, compose

if __name__ == "__main__":
    compose(ROOT / "build" / "docs")
