"""Prints the hotspare.toml inside rendered manifests.

    toml-of.py RENDERED.yaml
"""
import pathlib
import sys

from ruamel.yaml import YAML

for document in YAML(typ="safe").load_all(pathlib.Path(sys.argv[1]).read_text()):
    if document and document["kind"] == "ConfigMap" and "hotspare.toml" in document["data"]:
        print(document["data"]["hotspare.toml"], end="")
