"""The report of a bundle as one self-contained page: numbers, charts, and what is not measured.

It stands above ``calibrate`` and ``runtime``, whose numbers it shows, and below ``cli``. The charts
are plain SVG text and need nothing; only the page itself needs jinja2.
"""
