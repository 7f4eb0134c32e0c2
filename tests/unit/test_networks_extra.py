"""torch is an extra: everything else works without it, and its absence has one name."""

import subprocess
import sys

import pytest

from fedmkt.core.errors import ExtraMissing

HIDDEN = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hidden())
"""
# What computes networks; all else, the price of a training among it, does without torch.
NETWORKS = (
    "fedmkt.horizontal.network_together",
    "fedmkt.horizontal.network_update",
    "fedmkt.models.network",
    "fedmkt.node.network_training",
    "fedmkt.node.split_owner",
    "fedmkt.node.split_partner",
    "fedmkt.node.split_training",
    "fedmkt.privacy.dp_sgd.clipped_sum",
    "fedmkt.privacy.dp_sgd.library",
    "fedmkt.privacy.dp_sgd.row_norms",
    "fedmkt.privacy.dp_sgd.step",
    "fedmkt.privacy.dp_sgd.traces",
    "fedmkt.privacy.dp_sgd.weighted_sum",
    "fedmkt.simulation.poisoning.adult",
    "fedmkt.simulation.poisoning.loop",
    "fedmkt.simulation.poisoning.study",
    "fedmkt.vertical.split_network",
    "fedmkt.vertical.split_twin",
    "fedmkt.simulation.scenario.attack_networks",
    "fedmkt.simulation.scenario.attack_poisoning",
    "fedmkt.simulation.attacks.adult_split",
    "fedmkt.simulation.scenario.attack_split",
    "fedmkt.simulation.scenario.vertical_split",
)
STUDIES = ("fedmkt.simulation.attacks.network", "fedmkt.simulation.attacks.inversion")
WALK = f"""
import importlib, pkgutil, sys
import fedmkt
NETWORKS, STUDIES = {NETWORKS}, {STUDIES}
for module in pkgutil.walk_packages(fedmkt.__path__, "fedmkt."):
    networks = module.name in NETWORKS or module.name.startswith(STUDIES)
    if not networks and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print("torch" in sys.modules)
"""
ERROR = """
from fedmkt.core.errors import ExtraMissing
try:
    import {module}
except ExtraMissing as error:
    print(error)
"""


def answer(program: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300
    )
    return result.stdout.strip()


def test_nothing_but_networks_imports_torch():
    assert answer(WALK) == "False"


def test_everything_but_networks_imports_where_torch_is_missing():
    assert answer(HIDDEN + WALK) == "False"


def test_what_a_training_costs_is_known_where_torch_is_missing():
    priced = """
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.dp_sgd.terms import DpSgdTerms
print(epsilon_of([DpSgdTerms(1.0, 1.0, 1.0, 1, 100).event], 1e-5) > 0)
"""
    assert answer(HIDDEN + priced) == "True"


@pytest.mark.parametrize("module", ["fedmkt.privacy.dp_sgd.library", "fedmkt.models.network"])
def test_a_missing_torch_is_one_named_error_that_says_what_to_install(module):
    said = answer(HIDDEN + ERROR.format(module=module))
    assert said == str(ExtraMissing(library="torch", purpose="Networks", extra="networks"))
    assert "pip install 'fedmkt[networks]'" in said
