"""The inspector: local pages that show what a database holds. They only read.

Importing it raises `MissingExtra` where its packages are not installed.
"""

from importlib.util import find_spec

from minference.errors import MissingExtra

for _package in ("starlette", "jinja2"):
    if find_spec(_package) is None:
        raise MissingExtra("the inspector", _package, 'pip install "minference[ui]"')
