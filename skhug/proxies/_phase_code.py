"""An algebraic code: unit vectors by their number, far apart, computed when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from skhug._configured import Configured, explained
from skhug._device import PRECISIONS, to_numpy

__all__ = ["CodedProxies", "PhaseCode", "coherence_bound", "phase_code"]

# Quarter turns: the phases of a complex unit vector that stay orthogonal or opposite.
_PHASES = 4
# Rows of a code made at once, and products with it: 4 MiB in float32.
_BLOCK_ROWS = 4096
_BLOCK_PRODUCTS = 1 << 20


class PhaseCode:
    """The points of :func:`phase_code` as a matrix that is not stored: its rows are products.

    A phase of the polynomial is the product of the phases of its terms, so that a row takes a
    look-up and a complex product a degree. What is stored are the rows of each term, about
    ``(k + 3) p^2`` complex numbers for degrees up to k, however many points there are. It answers
    what is asked of a tensor of proxies that are not trained.

    Parameters
    ----------
    n_points, n_components : int
        At least 1 and 6.
    dtype : torch.dtype
        Of the rows, float32 or float64.
    device : torch.device or str
        That rows lie on.
    """

    requires_grad = False

    def __init__(
        self,
        n_points: int,
        n_components: int,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        self.shape = torch.Size([n_points, n_components])
        self.dtype, self.device = dtype, torch.device(device)
        self._p = _modulus(n_components)
        degrees = range(1, _degree(n_points, n_components) + 1)
        tables = [_terms(self._p, degree) for degree in degrees]
        tables[0] /= math.sqrt(self._p)
        kind = torch.complex64 if dtype == torch.float32 else torch.complex128
        self._tables = [table.to(self.device, kind) for table in tables]
        sizes = torch.tensor([len(table) for table in tables], device=self.device)
        self._sizes, self._places = sizes, sizes.cumprod(0) // sizes

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        if isinstance(index, slice):
            index = torch.arange(*index.indices(len(self)), device=self.device)
        return self.index_select(0, index)

    def index_select(self, axis: int, index: Tensor) -> Tensor:
        """Return the rows (n, n_components) of these numbers; ``axis`` is 0."""
        # Each row's coefficients, and the phases that they stand for.
        lowest, *others = (index[:, None] // self._places % self._sizes).unbind(1)
        points = self._tables[0].index_select(axis, lowest)
        for table, coefficient in zip(self._tables[1:], others, strict=True):
            points.mul_(table.index_select(axis, coefficient))
        rows = self.new_zeros(len(index), self.shape[1])
        rows[:, : self._p], rows[:, self._p : 2 * self._p] = points.real, points.imag
        return rows

    def product_blocks(self, points: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield products of points with all rows, block by block: (first row, (n, rows)).

        Rows that differ in their linear term alone have products that are a Fourier transform,
        which takes a hundredth of the operations of the products one by one.

        Parameters
        ----------
        points : Tensor of shape (n, n_components)
            In the dtype of the rows, and where these lie.
        """
        p, width = self._p, len(self._tables[0])
        z = torch.complex(points[:, :p].contiguous(), points[:, p : 2 * p].contiguous())
        n_groups = -(-len(self) // width)
        step = max(1, _BLOCK_PRODUCTS // (width * max(len(z), 1)))
        for first in range(0, n_groups, step):
            # The first of each group has no linear term.
            last = min(first + step, n_groups)
            term = self[torch.arange(first, last, device=self.device) * width]
            conjugate = torch.complex(term[:, :p], -term[:, p : 2 * p])
            sums = torch.fft.fft(z[:, None] * conjugate)  # (n, groups, p)
            turned = [sums.real, sums.imag, -sums.real, -sums.imag]
            products = torch.stack(turned, -1).flatten(1)
            yield first * width, products[:, : len(self) - first * width]

    def mean(self, axis: int) -> Tensor:
        """Return the mean of the rows, ``axis`` 0: four quarter turns add up to nothing."""
        left = torch.arange(len(self) // _PHASES * _PHASES, len(self), device=self.device)
        return self[left].sum(axis) / len(self)

    def whole(self) -> Tensor:
        """Return all rows, stored."""
        points = self.new_zeros(*self.shape)
        numbers = torch.arange(len(self), device=self.device).split(_BLOCK_ROWS)
        for block, number in zip(points.split(_BLOCK_ROWS), numbers, strict=True):
            block.copy_(self[number])
        return points

    def detach(self) -> PhaseCode:
        """Return itself: nothing is trained."""
        return self

    def to(self, device: torch.device, dtype: torch.dtype) -> PhaseCode:
        """Return the same points elsewhere, or in another dtype."""
        return PhaseCode(*self.shape, dtype, device)

    def new_zeros(self, *shape: int) -> Tensor:
        """Return zeros of the rows' dtype, where these lie."""
        return torch.zeros(*shape, dtype=self.dtype, device=self.device)


class CodedProxies(Configured):
    """Fixed proxies of very many classes, computed when they are asked for and never stored.

    What ``proxies_`` of an estimator is where an array would be large: ``proxies_[index]`` are
    the proxies of some classes, ``numpy.asarray(proxies_)`` all of them. ``shape`` is that
    of the array and ``dtype`` the name of its dtype. They are the first ``n_classes`` points of
    :func:`spherical_code`, as far as that is a code.

    Parameters
    ----------
    n_classes, n_components : int
        At least 1 and 6.
    dtype : {"float32", "float64"}, default="float32"
        Of the numbers.

    References
    ----------
    Weil, "On some exponential sums", PNAS 1948. Alltop, "Complex sequences with low periodic
    correlations", IEEE Trans. Information Theory 1980.

    Examples
    --------
    >>> from skhug.proxies import CodedProxies
    >>> proxies = CodedProxies(1_400_000, 256)
    >>> proxies[[5, 1_399_999]].shape
    (2, 256)
    >>> round(float(proxies[5] @ proxies[1_399_999]), 3)
    -0.117
    """

    ndim = 2

    @explained
    def __init__(self, n_classes: int, n_components: int, dtype: str = "float32") -> None:
        self.n_classes = n_classes
        self.n_components = n_components
        self.dtype = dtype

    @classmethod
    def of(cls, code: PhaseCode) -> CodedProxies:
        """Return the proxies that a code computes."""
        return cls(*code.shape, str(code.dtype).removeprefix("torch."))

    @property
    def shape(self) -> tuple[int, int]:
        """As of an array."""
        return self.n_classes, self.n_components

    @property
    def T(self) -> np.ndarray:
        """All of them, a column each."""
        return np.asarray(self).T

    def __len__(self) -> int:
        return self.n_classes

    def __getitem__(self, index: object) -> np.ndarray:
        numbers = np.arange(self.n_classes)[index]
        rows = self.on("cpu")[torch.from_numpy(np.ravel(numbers))]
        return to_numpy(rows).reshape(*np.shape(numbers), self.n_components)

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("These proxies are not stored: an array of them is always a new one.")
        return to_numpy(self.on("cpu").whole()).astype(dtype or self.dtype, copy=False)

    def on(self, device: torch.device | str) -> PhaseCode:
        """Return them as training and prediction take them, on a device."""
        return PhaseCode(*self.shape, PRECISIONS[self.dtype], device)


def phase_code(n_points: int, n_components: int) -> Tensor:
    """Return points whose coordinates are the phases of polynomials modulo a prime.

    A polynomial f without constant term gives the complex vector ``exp(2 pi i f(x) / p) /
    sqrt(p)``, x = 0 .. p - 1, with p the largest prime up to ``n_components / 2``; it is taken
    in four quarter turns, as real and imaginary parts. Points come in the order of f's
    coefficients as digits in base p, lowest degree first.

    Parameters
    ----------
    n_points, n_components : int
        At least 1 and 6.

    Returns
    -------
    points : Tensor of shape (n_points, n_components)
        Unit rows, float64. No cosine is above :func:`coherence_bound`; coordinates beyond 2 p
        are zero.

    References
    ----------
    Weil, "On some exponential sums", PNAS 1948. Alltop, "Complex sequences with low periodic
    correlations", IEEE Trans. Information Theory 1980 (quadratic and cubic phases).
    """
    p = _modulus(n_components)
    points = torch.zeros(n_points, n_components, dtype=torch.float64)
    for block, number in zip(
        points.split(_BLOCK_ROWS), torch.arange(n_points).split(_BLOCK_ROWS), strict=True
    ):
        turn, digits = number % _PHASES, number // _PHASES
        phase, power = torch.zeros(len(number), p, dtype=torch.int64), torch.arange(p)
        while digits.any():
            phase.add_((digits % p)[:, None] * power).remainder_(p)
            digits, power = digits // p, power * torch.arange(p) % p
        angle = 2 * math.pi * (phase.double() / p + turn[:, None].double() / _PHASES)
        block[:, :p], block[:, p : 2 * p] = angle.cos(), angle.sin()
    return points / math.sqrt(p)


def coherence_bound(n_points: int, n_components: int) -> float:
    """Return what no cosine between points of :func:`phase_code` exceeds, by Weil's theorem.

    ``(k - 1) / sqrt(p)`` with k the highest degree in use; infinite where there is no code.
    """
    if n_components < 6:
        return math.inf
    p, degree = _modulus(n_components), _degree(n_points, n_components)
    return (degree - 1) / math.sqrt(p) if degree < p else math.inf


def _degree(n_points: int, n_components: int) -> int:
    """Highest degree of the polynomials of so many points."""
    p, degree = _modulus(n_components), 1
    while _PHASES * p**degree < n_points:
        degree += 1
    return degree


def _terms(p: int, degree: int) -> Tensor:
    """Return the phases (coefficients, p) of a term; of the linear one in four quarter turns."""
    power = torch.tensor([pow(x, degree, p) for x in range(p)])
    phase = torch.arange(p)[:, None] * power % p / torch.tensor(p, dtype=torch.float64)
    if degree == 1:
        turn = torch.arange(_PHASES, dtype=torch.float64) / _PHASES
        phase = (phase[:, None] + turn[:, None]).flatten(0, 1)
    angle = 2 * math.pi * phase
    return torch.complex(angle.cos(), angle.sin())


def _modulus(n_components: int) -> int:
    """Largest prime up to half the components, which are 4 or more."""
    p = n_components // 2
    while any(p % i == 0 for i in range(2, math.isqrt(p) + 1)):
        p -= 1
    return p
