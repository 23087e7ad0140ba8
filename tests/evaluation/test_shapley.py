import itertools

import numpy as np
import pytest

from fusion_ln.evaluation.shapley import coalitions, interactions, shapley_values


def game(rng, n=3, shape=(3,)):
    return {chosen: rng.normal(size=shape) for chosen in coalitions(n)}


def brute_force(values, n):
    """The mean over all orders in which the players can come of what each adds."""
    total = np.zeros((n, *values[()].shape))
    orders = list(itertools.permutations(range(n)))
    for order in orders:
        for place, player in enumerate(order):
            before = tuple(sorted(order[:place]))
            total[player] += values[tuple(sorted((*before, player)))] - values[before]
    return total / len(orders)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_shapley_values_are_the_mean_over_all_orders(rng, n):
    values = game(rng, n)
    np.testing.assert_allclose(shapley_values(values), brute_force(values, n))


def test_interactions_are_the_mean_gain_of_a_pair_beyond_its_parts(rng):
    """The pair comes together, as one player, into every order of the others (Grabisch & Roubens 1999)."""
    values = game(rng)
    for (a, b), found in interactions(values).items():
        [other] = {0, 1, 2} - {a, b}
        gains = []
        for before in ((), (other,)):
            both, one, two = (tuple(sorted((*before, *own))) for own in ((a, b), (a,), (b,)))
            gains.append(values[both] - values[one] - values[two] + values[before])
        np.testing.assert_allclose(found, np.mean(gains, axis=0))


def test_equal_players_get_equal_shares_and_an_idle_one_gets_none():
    values = {chosen: np.array(float(len(set(chosen) & {0, 1}) ** 2)) for chosen in coalitions(3)}
    shares = shapley_values(values)
    assert shares[0] == pytest.approx(shares[1])
    assert shares[2] == 0
    assert interactions(values)[0, 2] == 0
    assert interactions(values)[0, 1] == pytest.approx(2)  # 4 together, 1 each alone
