"""Progress of a proof: what is said on the way is true of the end."""

import numpy as np

from certnet.jobs.lipschitz import lipschitz_constant
from certnet.jobs.verify import verify
from certnet.runtime.clock import Event
from formulations.network import ReluNetwork
from formulations.properties import keeps_class
from formulations.robustness import InputRegion

RNG = np.random.default_rng(1)
NETWORK = ReluNetwork(RNG.normal(size=(8, 3)), RNG.normal(size=8), RNG.normal(size=(3, 8)), RNG.normal(size=3))


def test_verification_and_constants_say_what_is_known_so_far() -> None:
    events: list[Event] = []
    x = np.zeros(3)
    label = int(NETWORK(x[None]).argmax())
    verify(NETWORK, keeps_class(NETWORK, InputRegion.linf(x, 0.05), label), progress=events.append)
    assert events
    assert any("of 2 cases" in (event.known or "") for event in events)
    events.clear()
    found = lipschitz_constant(NETWORK, np.eye(3), progress=events.append)
    assert [event.stage for event in events] == ["sampled gradients", "LipSDP", "products of signs"]
    (proved,) = [event.known for event in events if "proved" in (event.known or "")]
    assert float(str(proved).split()[1]) >= found.constant * (1 - 1e-3)
