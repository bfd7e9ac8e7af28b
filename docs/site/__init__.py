"""The pages of ``docs/`` as a site: what is generated, how it is put together, how it is built (``make docs``)."""
