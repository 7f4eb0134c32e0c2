"""The label owner's side of an expansion: joint scores out encrypted, sums back noised.

Guarantee: a customer's joint score leaves encrypted alone, under a key of this run that this node
alone holds; sums of them leave with the job's noise.
"""

import os

import numpy as np

from fedmkt.core.stages import LocalUpdate
from fedmkt.identity.hash_chain import JSON
from fedmkt.node.answer import Answer
from fedmkt.node.expansion_data import Loaded, PricedExpansion, expansion_of
from fedmkt.node.home import NodeHome
from fedmkt.node.rounds import check_turn, entered, seal_content, to_turn, turn
from fedmkt.node.secure_sums import check_noised
from fedmkt.node.shared_state import SharedState
from fedmkt.privacy.mechanisms import add_noise
from fedmkt.security.inner_product import elgamal, opening
from fedmkt.vertical.party import step_size
from fedmkt.vertical.student import student_bound, target_units
from fedmkt.wire.shared import (
    NoisedReply,
    NoisedRequest,
    ResidualsReply,
    ResidualsRequest,
)

_STAGE = "LocalUpdate PrivateUpdate MaskedProducts"


def targets(
    home: NodeHome, state: SharedState, request: ResidualsRequest, loaded: Loaded
) -> Answer:
    """Send the clipped joint scores of the aligned customers, encrypted."""
    job = expansion_of(state)
    check_turn(state, "residuals", request.index, expected=turn(state))
    state = entered(home, state, request.bundles, job.alignment, loaded.alignment.digest)
    assert loaded.part is not None
    part = loaded.part
    joint = part.model.scores(loaded.rows.codes)
    if part.total is not None:
        joint = joint + part.total * step_size(limit=part.limit, levels=part.steps)
    # The intercept follows from noised sums, so the centre is a released number.
    units = target_units(joint, centre=part.model.intercept, clip=job.clip)
    key, content_key, partner = _key(state), os.urandom(32), job.partners[0]
    encrypted = elgamal.encrypt(key, units, elgamal.prepare(key, len(units)))
    reply = ResidualsReply(
        residuals=seal_content(
            content_key, encrypted, size=elgamal.message_bytes(loaded.alignment.padded)
        ),
        keys={partner: state.keys.seal_to(partner, "residuals/0", content_key)},
    )
    state = state.remembering(**to_turn("noised", 0))
    return Answer(reply, state, "answered", {"partner": partner})


def noised(
    home: NodeHome, state: SharedState, request: NoisedRequest, priced: PricedExpansion
) -> Answer:
    """Take the key off and put noise on."""
    job, partner = expansion_of(state), expansion_of(state).partners[0]
    check_turn(state, "noised", request.index, expected=turn(state))
    data = state.keys.open_from(partner, "products/0", request.sealed.get(partner, b""))
    zeros = np.zeros(priced.binning.total, dtype=np.int64)
    update = add_noise(
        LocalUpdate(zeros, student_bound(len(job.parties[1].features), job.clip)),
        noise_multiplier=job.privacy.noise_multiplier,
        shares=1,
        trust="local",
        source=home.noise.stream(f"{state.run}/0/{home.member}"),
    )
    check_noised(update, priced.releases[0].event)
    points = opening.open_noised(_key(state), data, update.values, member=partner)
    sealed = state.keys.seal_to(partner, "noised/0", points)
    facts: dict[str, JSON] = {"stages": _STAGE}
    state = state.passed(_STAGE).remembering(**to_turn("close", 0))
    return Answer(NoisedReply(sealed={partner: sealed}), state, "released", facts, commits=(0,))


def _key(state: SharedState) -> elgamal.OwnerKey:
    return elgamal.OwnerKey.from_bytes(state.keys.derive_secret("elgamal/0"))
