"""Orthogonal matching pursuit of many signals at once, and K-SVD, which learns a dictionary for it.

Sources: Pati, Rezaiifar, Krishnaprasad, "Orthogonal matching pursuit", 1993; Aharon, Elad, Bruckstein, "K-SVD", 2006;
its update of an atom by one round of power iteration is that of Rubinstein, Zibulevsky, Elad, "Efficient
implementation of the K-SVD algorithm using batch orthogonal matching pursuit", 2008.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from sgdbd_jax.compiling import jit

AT_ONCE = 512  # signals a pass
DEPENDENT = 1e-6  # squared length of what is new in an atom; below, it adds nothing to those chosen before
ALIKE = 0.99  # cosine of two atoms of which one is replaced


def pursue(signals: np.ndarray, dictionary: np.ndarray, *, tolerance: float, most: int) -> np.ndarray:
    """The atoms that orthogonal matching pursuit takes until what is left of a signal is no longer than `tolerance`.

    Args:
        signals: `[N, D]` float32.
        dictionary: `[D, K]` float32, its columns of length 1; at most 32,767.
        tolerance: the length, in the signals' units.
        most: atoms at which a pursuit ends anyway.

    Returns:
        `[N, most]` int16: the places of the atoms in the order chosen, then -1; all -1 where the signal itself is no
        longer than `tolerance`.
    """
    atoms = np.full((len(signals), most), -1, np.int16)
    energies = np.einsum("nd,nd->n", signals, signals)
    unfinished = np.argsort(energies, kind="stable")
    unfinished = unfinished[energies[unfinished] > tolerance**2]
    limit = 0
    # A pass takes as many steps as its slowest signal, and a step as much work as steps went before: so nearly all
    # signals end in short passes, and the few others begin again in longer ones.
    while limit < most and len(unfinished):
        limit, again = min(2 * limit or 8, most), []
        for start in range(0, len(unfinished), AT_ONCE):
            places = unfinished[start : start + AT_ONCE]
            # Zeros fill the last pass: one shape, compiled once.
            batch = np.pad(signals[places].T, ((0, 0), (0, AT_ONCE - len(places))))
            found, active = _pursue(most, np.int32(limit), batch, dictionary, np.float32(tolerance**2))
            atoms[places] = np.asarray(found).T[: len(places)]
            again.append(places[np.asarray(active)[: len(places)]])
        unfinished = np.concatenate(again)
    return atoms


@functools.partial(jit, static_argnums=0)
def _pursue(
    most: int, limit: jax.Array, signals: jax.Array, dictionary: jax.Array, enough: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Atoms `[most, N]` int16 chosen for signals `[D, N]` in `limit` steps, and which want more: `[N]` bool."""

    def goes_on(state: tuple) -> jax.Array:
        step, _, _, active, _ = state
        return (step < limit) & active.any()

    def choose(state: tuple) -> tuple:
        step, left, basis, active, atoms = state
        fit = jnp.abs(jnp.matmul(dictionary.T, left, precision="highest"))
        # The first of the largest; argmax takes several times as long on a CPU.
        atom = jnp.where(fit == fit.max(0), jnp.arange(len(fit))[:, None], len(fit) - 1).min(0)

        def remove(earlier: jax.Array, new: jax.Array) -> jax.Array:
            direction = lax.dynamic_index_in_dim(basis, earlier, keepdims=False)
            return new - (direction * new).sum(0) * direction

        new = lax.fori_loop(0, step, remove, dictionary[:, atom])
        energy = (new**2).sum(0)
        active &= energy > DEPENDENT
        direction = jnp.where(active, new * lax.rsqrt(jnp.maximum(energy, DEPENDENT)), 0)
        left = left - (direction * left).sum(0) * direction
        atoms = lax.dynamic_update_index_in_dim(atoms, jnp.where(active, atom, -1).astype(jnp.int16), step, 0)
        basis = lax.dynamic_update_index_in_dim(basis, direction, step, 0)
        return step + 1, left, basis, active & ((left**2).sum(0) > enough), atoms

    size, count = signals.shape
    state = (
        jnp.zeros((), jnp.int32),
        signals,
        jnp.zeros((most, size, count), jnp.float32),
        (signals**2).sum(0) > enough,
        jnp.full((most, count), -1, jnp.int16),
    )
    _, _, _, active, atoms = lax.while_loop(goes_on, choose, state)
    return atoms, active


def learn_dictionary(
    signals: np.ndarray,
    *,
    atoms: int,
    tolerance: float,
    most: int,
    rounds: int,
    rng: np.random.Generator,
    progress: Callable[[float], None] = lambda mean: None,
) -> np.ndarray:
    """K-SVD: a dictionary in which few atoms bring `signals` to within `tolerance`.

    Begins with signals drawn at random. An atom that no signal uses, or that is nearly another, gives way to the signal
    of which most is left.

    Args:
        signals: `[N, D]` float32, at least `atoms` of them and none zero.
        atoms: K.
        tolerance, most: as `pursue` takes them.
        rounds: of a pursuit and an update of all atoms.
        rng: draws the first atoms.
        progress: called after each round, with the mean number of atoms that a signal took in it.

    Returns:
        `[D, K]` float32, columns of length 1.
    """
    dictionary = signals[rng.choice(len(signals), atoms, replace=False)].T.astype(np.float64)
    dictionary /= np.linalg.norm(dictionary, axis=0)
    for _ in range(rounds):
        chosen = pursue(signals, dictionary.astype(np.float32), tolerance=tolerance, most=most)
        weights = _weights(signals, dictionary, chosen)
        left = signals.astype(np.float64)
        for place in range(most):
            left -= weights[:, place, None] * dictionary.T[chosen[:, place]]
        users = np.argsort(chosen, axis=None, kind="stable")  # of each atom, one after another
        ends = np.searchsorted(chosen.ravel()[users], np.arange(-1, atoms), side="right")
        for atom in range(atoms):
            _update(dictionary, atom, users[ends[atom] : ends[atom + 1]], weights, left)
        progress(float((chosen >= 0).sum(1).mean()))
    return dictionary.astype(np.float32)


def _weights(signals: np.ndarray, dictionary: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """What the chosen atoms are multiplied by to come closest to the signals: `[N, most]`, 0 where there is none."""
    weights = np.zeros(chosen.shape)
    counts = (chosen >= 0).sum(1)
    for count in range(1, chosen.shape[1] + 1):
        (places,) = np.nonzero(counts == count)
        taken = dictionary.T[chosen[places, :count]]  # [n, count, D]
        gram = taken @ taken.swapaxes(1, 2)
        wanted = np.einsum("ncd,nd->nc", taken, signals[places])
        weights[places, :count] = np.linalg.solve(gram, wanted[..., None])[..., 0]
    return weights


def _update(dictionary: np.ndarray, atom: int, uses: np.ndarray, weights: np.ndarray, left: np.ndarray) -> None:
    """Fits an atom to what the others leave of the signals that use it, at the places `uses` of the flat weights."""
    alike = np.abs(dictionary[:, atom] @ dictionary)
    alike[atom] = 0
    if not len(uses) or alike.max() > ALIKE:
        worst = np.argmax(np.einsum("nd,nd->n", left, left))
        dictionary[:, atom] = left[worst] / max(np.linalg.norm(left[worst]), 1e-12)
        left[worst] = 0  # so that the next one takes another
        return
    signals, weight = uses // weights.shape[1], weights.ravel()[uses]
    of_atom = left[signals] + np.outer(weight, dictionary[:, atom])
    fitted = of_atom.T @ weight
    dictionary[:, atom] = fitted / max(np.linalg.norm(fitted), 1e-12)
    left[signals] = of_atom - np.outer(of_atom @ dictionary[:, atom], dictionary[:, atom])
