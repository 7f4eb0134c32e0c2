"""The bundle that Flower carries to every node: two assignments and a configuration.

Guarantee: `build_bundle(bundle_files())` gives the same bytes for the same versions of this
package and of Flower, so its SHA-256 can stand in a contract; no code of this package is inside,
so a node runs the copy its own member installed.
Not guaranteed: that a node runs no other bundle. That is for the node to check.
"""

import hashlib
import warnings
from collections.abc import Mapping
from importlib.metadata import version

from flwr.cli.build import build_fab_from_files

# Flower refuses a bundle whose module only re-exports the app: there must be an assignment.
_SHIM = '''"""Flower's {kind} of fedmkt; what it does is in the installed package."""

from {module} import app as _app

app = _app
'''

# Only the keys under `config` can be set by a run.
_PYPROJECT = """\
[project]
name = "fedmkt-app"
version = "{version}"
description = "Starts the installed fedmkt"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "fedmkt"

[tool.flwr.app.components]
serverapp = "server_app:app"
clientapp = "client_app:app"

[tool.flwr.app.config]
order = ""
home = ""
"""


def bundle_files() -> dict[str, bytes]:
    """Return the bundle's files by name."""
    return {
        "pyproject.toml": _PYPROJECT.format(version=version("fedmkt")).encode(),
        "client_app.py": _SHIM.format(kind="ClientApp", module="fedmkt.node.app").encode(),
        "server_app.py": _SHIM.format(kind="ServerApp", module="fedmkt.coordinator.app").encode(),
    }


def build_bundle(files: Mapping[str, bytes]) -> bytes:
    """Return `files` as a Flower App Bundle; its SHA-256 is the bundle's hash."""
    with warnings.catch_warnings():
        # Flower asks pathspec for a kind of pattern by its old name.
        warnings.simplefilter("ignore", DeprecationWarning)
        return build_fab_from_files(files)[0]


def bundle_hash() -> str:
    """Return the SHA-256 of this package's bundle, in hexadecimal."""
    return hashlib.sha256(build_bundle(bundle_files())).hexdigest()
