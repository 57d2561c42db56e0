"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al., arXiv 2409.11321, algorithm 3)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Soap:
    """Optimizer for small networks: matrices in the eigenbasis of their gradients' covariances, vectors by Adam.

    Each step of a matrix (m, n) costs products of (m, m) and (n, n) matrices, and every ``basis_interval`` steps two
    QR decompositions. A matrix takes its first step on the second call, when there is a basis.

    Args:
        parameters: leaves of one or two axes.
        lr: Learning rate; assign to it for a schedule.
        betas: Decay of the mean gradient, and of its square and the covariances.
        basis_interval: Steps between updates of the eigenbasis.

    Example:
        >>> weight = torch.ones(3, 2, requires_grad=True)
        >>> optimizer = Soap([weight], lr=0.1)
        >>> for _ in range(100):
        ...     weight.grad = 2 * weight.detach()
        ...     optimizer.step()
        >>> bool(weight.abs().max() < 0.2)
        True
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        betas: tuple[float, float] = (0.95, 0.95),
        basis_interval: int = 10,
        eps: float = 1e-8,
    ) -> None:
        self.parameters, self.lr, self.betas = list(parameters), lr, betas
        self.basis_interval, self.eps = basis_interval, eps
        self._states: list[dict[str, Tensor]] = [{} for _ in self.parameters]
        self._steps = 0

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters from their gradients."""
        self._steps += 1
        for parameter, state in zip(self.parameters, self._states, strict=True):
            assert parameter.grad is not None
            if parameter.ndim == 2:
                self._step_matrix(parameter, parameter.grad, state)
            else:
                parameter.sub_(self.lr * self._adam_direction(parameter.grad, state, self._steps))

    def _step_matrix(self, parameter: Tensor, grad: Tensor, state: dict[str, Tensor]) -> None:
        if not state:
            for side, covariance in (("left", grad @ grad.T), ("right", grad.T @ grad)):
                state[side], state[f"{side}_basis"] = covariance, torch.linalg.eigh(covariance)[1].flip(1)
            return
        left, right = state["left_basis"], state["right_basis"]
        # the mean gradient is kept in the parameter's own axes, because the basis moves
        mean = state.setdefault("mean", torch.zeros_like(grad)).lerp_(grad, 1 - self.betas[0])
        steps = self._steps - 1
        direction = self._normalized(left.T @ mean @ right, left.T @ grad @ right, state, steps)
        parameter.sub_(self.lr * (left @ direction @ right.T))
        for side, covariance in (("left", grad @ grad.T), ("right", grad.T @ grad)):
            state[side].lerp_(covariance, 1 - self.betas[1])
            if self._steps % self.basis_interval == 0:  # one step of the power iteration
                state[f"{side}_basis"] = torch.linalg.qr(state[side] @ state[f"{side}_basis"])[0]

    def _adam_direction(self, grad: Tensor, state: dict[str, Tensor], steps: int) -> Tensor:
        mean = state.setdefault("mean", torch.zeros_like(grad)).lerp_(grad, 1 - self.betas[0])
        return self._normalized(mean, grad, state, steps)

    def _normalized(self, mean: Tensor, grad: Tensor, state: dict[str, Tensor], steps: int) -> Tensor:
        """Return Adam's step from the mean gradient, updating the mean of its square."""
        square = state.setdefault("square", torch.zeros_like(grad)).lerp_(grad * grad, 1 - self.betas[1])
        variance = square / (1 - self.betas[1] ** steps)
        return mean / (1 - self.betas[0] ** steps) / (variance.sqrt() + self.eps)
