"""Make routes-VERSION.txt from the API's own description: VERB PATH, one a line.

Usage: python tests/guard/make_routes.py doc/rest-api.yaml "where it is from" > routes-6.0.txt

The file is `doc/rest-api.yaml` of Incus' source, which `apt-get source --download-only incus`
gets in a Debian release with that version (its .orig.tar archive).
"""

import sys
from pathlib import Path

import yaml


def routes(text):
    """Every (verb, path) of a Swagger description, sorted by path."""
    described = yaml.safe_load(text)["paths"]
    found = {(path.split("?")[0], verb.upper()) for path in described for verb in described[path]}
    return sorted(found)


if __name__ == "__main__":
    description, origin = sys.argv[1:]
    print(f"# {origin}; made by make_routes.py, not by hand")
    for path, verb in routes(Path(description).read_text()):
        print(verb, path)
