"""The network object: predictions, and files that cannot hurt."""

import io
import zipfile

import numpy as np
import pytest

from certnet.io.network import TwoLayerNetwork, assemble
from formulations import InputError, TrainingProgram
from formulations.network import ReluNetwork

WEIGHTS = ("hidden", "hidden_bias", "output", "output_bias")
EMPTY = TwoLayerNetwork(ReluNetwork(np.zeros((0, 3)), np.zeros(0), np.zeros((2, 0)), np.ones(2)))


def _network(seed=0, d=3, m=4, c=2):
    generator = np.random.default_rng(seed)
    hidden, output = generator.standard_normal((m, d)), generator.standard_normal((c, m))
    return TwoLayerNetwork(
        ReluNetwork(hidden, generator.standard_normal(m), output, generator.standard_normal(c)),
        offset=generator.standard_normal(d),
        scale=np.array([1.0, 2.0, 0.5])[:d],
        classes=["no", "yes"],
    )


def test_prediction_by_hand():
    own = ReluNetwork(np.array([[1.0], [-1.0]]), np.array([0.0, 1.0]), np.array([[2.0, 3.0]]), np.array([5.0]))
    network = TwoLayerNetwork(own, offset=[1.0], scale=[2.0])
    # z = (x − 1)/2; score = 2 z₊ + 3 (1 − z)₊ + 5
    np.testing.assert_allclose(network.predict([[1.0], [5.0], [-3.0]]), [[8.0], [9.0], [14.0]])
    assert network.network.width == 2


def test_program_weights_with_bias_predict_what_the_program_fits():
    generator = np.random.default_rng(1)
    X, Y = generator.standard_normal((6, 3)), generator.standard_normal((6, 2))
    U, V = generator.standard_normal((4, 5)), generator.standard_normal((2, 5))
    program = TrainingProgram(X, Y, 0.1, hidden_bias="penalised")
    network = TwoLayerNetwork(ReluNetwork.of_program(U, V, hidden_bias=True), np.full(3, 2.0), np.full(3, 4.0))
    np.testing.assert_allclose(network.predict(4 * X + 2), Y - program.dual(U, V), atol=1e-12)


def test_classes_name_the_largest_score():
    network = _network()
    X = np.random.default_rng(2).standard_normal((20, 3))
    expected = np.array(["no", "yes"])[np.argmax(network.predict(X), axis=1)]
    np.testing.assert_array_equal(network.predict_class(X), expected)
    plain = TwoLayerNetwork(network.network)
    np.testing.assert_array_equal(plain.predict_class(X), np.argmax(plain.predict(X), axis=1))


def test_empty_network_is_its_output_bias_everywhere():
    assert EMPTY.network.width == 0
    np.testing.assert_array_equal(EMPTY.predict(np.ones((5, 3))), np.ones((5, 2)))


@pytest.mark.parametrize(
    "parts",
    [
        {"V": np.ones((2, 3))},
        {"U": np.full((3, 4), np.nan)},
        {"U": np.ones((3, 4)) * 1j},
        {"hidden_bias": np.ones(3)},
        {"output_bias": np.ones(3)},
        {"output_bias": np.array([0.0, np.nan])},
        {"offset": np.array([0.0, np.inf, 0.0])},
        {"scale": np.array([1.0, 0.0, 1.0])},
        {"scale": np.array([1.0, -1.0, 1.0])},
        {"classes": ["a"]},
        {"classes": ["a", "a"]},
    ],
)
def test_inconsistent_parts_are_refused(parts):
    good = {"U": np.ones((3, 4)), "V": np.ones((2, 4))}
    assemble("net", **good)
    with pytest.raises(InputError):
        assemble("net", **(good | parts))


@pytest.mark.parametrize("X", [np.ones((2, 4)), np.full((2, 3), np.nan), "text", np.ones((2, 3, 1))])
def test_unusable_data_is_refused(X):
    with pytest.raises(InputError):
        _network().predict(X)


@pytest.mark.parametrize("network", [_network(), EMPTY])
def test_round_trip(tmp_path, network):
    path = tmp_path / "net.npz"
    network.save(path)
    network.save(path)
    back = TwoLayerNetwork.load(path)
    for name in ("offset", "scale"):
        np.testing.assert_array_equal(getattr(back, name), getattr(network, name))
    for name in WEIGHTS:
        np.testing.assert_array_equal(getattr(back.network, name), getattr(network.network, name))
    assert back.classes == network.classes
    assert [file.name for file in tmp_path.iterdir()] == ["net.npz"]


def _file(path, **arrays):
    with path.open("wb") as stream:
        np.savez(stream, **arrays)


GOOD = {"format": np.array("certnet-network"), "version": np.array(2), "U": np.ones((3, 4)), "V": np.ones((2, 4))}


@pytest.mark.parametrize(
    "change",
    [
        {"format": np.array("something")},
        {"format": np.array(3)},
        {"version": np.array(1)},
        {"version": np.array([2, 2])},
        {"U": np.full((3, 4), np.nan)},
        {"U": np.ones((3, 5))},
        {"U": np.ones(3, dtype=complex)},
        {"U": np.array([{"a": 1}], dtype=object)},
        {"U": np.ones((3, 4, 1))},
        {"scale": np.zeros(3)},
        {"scale": np.ones((3, 1))},
        {"hidden_bias": np.array("text")},
        {"classes": np.array([1, 2])},
        {"classes": np.array(["a", "b", "c"])},
        {"V": None},
        {"columns": np.array("{}")},
        {"columns": np.array("[" * 100_000)},
        {"columns": np.array(["[]"] * 2)},
    ],
)
def test_hostile_members_are_refused(tmp_path, change):
    path = tmp_path / "net.npz"
    _file(path, **GOOD)
    assert TwoLayerNetwork.load(path).network.width == 4
    _file(path, **{name: value for name, value in (GOOD | change).items() if value is not None})
    with pytest.raises(InputError) as caught:
        TwoLayerNetwork.load(path)
    assert "\n" not in str(caught.value)


def test_foreign_and_truncated_files_are_refused(tmp_path):
    path = tmp_path / "net.npz"
    _network().save(path)
    whole = path.read_bytes()
    array = io.BytesIO()
    np.save(array, np.ones(3))
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "hello")
        archive.writestr("U.npy", b"\x93NUMPY\x01\x00 broken header")
    contents = [b"", b"PK", b"plain text", array.getvalue(), other.getvalue()]
    contents += [whole[:cut] for cut in range(0, len(whole), 97)]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(InputError):
            TwoLayerNetwork.load(path)
    with pytest.raises(InputError):
        TwoLayerNetwork.load(tmp_path / "missing.npz")
    with pytest.raises(InputError):
        TwoLayerNetwork.load(tmp_path)


def test_flipped_bytes_never_give_another_network(tmp_path):
    path = tmp_path / "net.npz"
    network = _network()
    network.save(path)
    whole = bytearray(path.read_bytes())
    refused = 0
    for position in range(0, len(whole), 13):
        changed = whole.copy()
        changed[position] ^= 0x5A
        path.write_bytes(bytes(changed))
        try:
            back = TwoLayerNetwork.load(path)
        except InputError:
            refused += 1
            continue
        for name in WEIGHTS:
            np.testing.assert_array_equal(getattr(back.network, name), getattr(network.network, name))
    assert refused > 0


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "net.npz"
    _network().save(path)
    before = path.read_bytes()
    with pytest.raises(InputError, match="cannot write"):
        _network().save(tmp_path / "no" / "folder.npz")
    assert path.read_bytes() == before
