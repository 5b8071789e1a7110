"""The slack of a nonnegativity proof on the lifted cone, rebuilt from the data with rounding enclosed.

For generators A (N×k) and the form  F(λ) = zᵀEz·κ − ‖Wᵀφ‖² − φᵀNφ − Σ t_i α_i β_i  on the face s = (β, z), α = β + Az,

    M = WWᵀ + N + ½ diag(t) at (α_i, β_i),     S_ββ = −(M_αα + M_αβ + M_βα + M_ββ),
    S_βz = −(M_αα + M_βα) A,                   S_zz = κE − Aᵀ M_αα A,

where N is symmetric 2N×2N. F ≥ 0 on K(A) if N ≥ 0 and S ⪰ 0 (math: docs/how-it-works.md, "From a dual to a bound").
"""

import numpy as np

from certificates.arithmetic.floating import Enclosure
from formulations._validation import FloatArray


def form_matrix(W: Enclosure, N: FloatArray, t: FloatArray) -> Enclosure:
    """M = WWᵀ + N + ½ diag(t) as an enclosure (2N×2N); ``N`` and ``t/2`` are exact float64 numbers."""
    M = W @ W.T + Enclosure.exact(N)
    m = len(t)
    coupling = np.zeros_like(N)
    index = np.arange(m)
    coupling[index, m + index] = coupling[m + index, index] = 0.5 * t
    return M + Enclosure.exact(coupling)


def slack_matrix(A: FloatArray, M: Enclosure, z_block: Enclosure) -> Enclosure:
    """S in the order (β, z); ``z_block`` encloses κE. Only the lower triangle is meant to be read."""
    m = len(A)
    a, b = slice(0, m), slice(m, 2 * m)
    M_aa = Enclosure(M.mid[a, a], M.rad[a, a])
    M_ba = Enclosure(M.mid[b, a], M.rad[b, a])
    M_bb = Enclosure(M.mid[b, b], M.rad[b, b])
    generators = Enclosure.exact(A)
    S_bb = -((M_aa + M_bb) + (M_ba + M_ba.T))
    MA = M_aa @ generators
    S_bz = -(MA + M_ba @ generators)
    S_zz = z_block + -(generators.T @ MA)
    return Enclosure(
        np.block([[S_bb.mid, S_bz.mid], [S_bz.mid.T, S_zz.mid]]),
        np.block([[S_bb.rad, S_bz.rad], [S_bz.rad.T, S_zz.rad]]),
    )
