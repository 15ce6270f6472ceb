"""Stacked MLPs whose first layer is moved item by item, for no more training items than features.

All steps of a first layer come from its training items X [n, d], so it stays W0 - X^T A, b0 - 1^T A, with A
[n, H] the sum of the steps by item. What the layer gives for the items, P = X W + b, is all that training
needs; a step g [b, H] on some of them moves it by K[:, some] g with K = X X^T + 1. That is one product of
n x b x H in the place of two of d x b x H, and the weights are put together at the end.
"""

import torch
from torch import Tensor

from m2s_lib.evaluation.probes.probe_scores import loss_gradient
from m2s_lib.evaluation.probes.probe_training import LOOK, MLPStack, StackData, layers


class ItemStack(MLPStack):
    """An `MLPStack` for the items that it is made with; A [E, n, H] stands where the first weights stood.

    Letters: as in `probe_training`; v validation items.
    """

    @staticmethod
    def suits(data: StackData, configs: list) -> bool:
        """True where this is less work than an `MLPStack`: several models, items no more than features."""
        _, n, d = data.x.shape
        return n <= d and len(configs) > 1 and configs[0].layers > 0 and not any(c.clip for c in configs)

    def __init__(
        self, sizes: list[int], outputs: list[int], configs: list, data: StackData, of_data: list[int]
    ):
        """sizes, outputs, configs: of `MLPStack`. data, of_data: of `train_stack`, features and all."""
        super().__init__(sizes, outputs, configs, data.x.device)
        self.x, self.of_data = data.x, of_data
        self.weight, self.bias = self.params[:2]  # as they were drawn
        self.number = torch.arange(len(configs), device=data.x.device)  # of each model, when all were there
        self.offset = self._offset()
        self.kernel = (data.x @ data.x.mT + 1).flatten(0, 1)  # [T n, n]
        self.units = torch.stack([self._first(data.x[t], e) for e, t in enumerate(of_data)])  # P [E, n, H]
        self.val_kernel = [v @ x.T + 1 for v, x in zip(data.x_val, data.x, strict=True)]  # T of [v, n]
        of_set = [[e for e, t in enumerate(of_data) if t == number] for number in range(len(data.x))]
        self.val_units = [
            torch.stack([self._first(v, e) for e in models])
            for v, models in zip(data.x_val, of_set, strict=True)
        ]  # T of [m, v, H]
        self.val_place = self.number.new_tensor([of_set[t].index(e) for e, t in enumerate(of_data)])
        self.params[0] = torch.zeros_like(self.units)

    def numbered(self, data: StackData) -> StackData:
        """The data as this stack takes it: items by their numbers in [T n], a validation set by its own."""
        sets, n = data.x.shape[:2]
        x = torch.arange(sets * n, device=data.x.device).view(sets, n)
        return StackData(x, data.y, data.n, list(torch.arange(sets)), data.y_val, data.groups)

    def descend(self, x: Tensor, y: Tensor, share: Tensor, masks: list[Tensor] | None) -> None:
        """One step of gradient descent: `MLPStack.descend` with x [E, b] as `numbered` has it."""
        places = (x + self.offset).flatten()  # in [E n]
        h = self.room.take("first", self.units, len(places), self.units.shape[2])
        h = torch.index_select(self.units.flatten(0, 1), 0, places, out=h).unflatten(0, x.shape).relu_()
        above = None
        if masks is not None:
            h, above = h.mul_(masks[0]), masks[1:]
        out, inputs = layers(self.params[2:], self.absent, h, above, self.room)
        gradient = loss_gradient(self.loss, out, y).mul_(share * self.lr)
        gradient = self._step(self.params[2:], inputs, masks, gradient, through=True)  # [E, b, H]
        self.params[0].flatten(0, 1).index_add_(0, places, gradient.flatten(0, 1))
        near = self.room.take("near", gradient, x.numel(), self.kernel.shape[1])
        torch.index_select(self.kernel, 0, x.flatten(), out=near)
        self.units.baddbmm_(near.unflatten(0, x.shape).mT, gradient, alpha=-1)

    def outputs(self, x: Tensor, which: Tensor) -> Tensor:
        """Outputs of the models `which` int64 [m] on validation set x: [m, v, C], in blocks of items."""
        kernel, units, every = self.val_kernel[int(x)], self.val_units[int(x)], len(which) == len(self.seeds)
        moved, *params = self.params if every else self.states(which)
        absent = self.absent if every or self.absent is None else self.absent[which]
        if len(which) < len(units):  # others of this set are no longer trained
            units = units[self.val_place[self.number[which]]]
        block = max(1, LOOK // (len(which) * max([kernel.shape[1], *self.widths])))
        parts = []
        for i in range(0, len(kernel), block):
            near, start = kernel[i : i + block].expand(len(which), -1, -1), units[:, i : i + block]
            h = torch.baddbmm(start, near, moved, alpha=-1, out=self.room.take("first", start, *start.shape))
            parts.append(layers(params[1:], absent, h.relu_(), room=self.room)[0])
        return torch.cat(parts, 1)

    def keep(self, which: Tensor) -> None:
        """Go on with the models `which` int64 [m] only."""
        super().keep(which)
        self.units, self.number = self.units[which], self.number[which]
        self.offset = self._offset()

    def weights(self, e: int, state: list[Tensor]) -> list[Tensor]:
        """Parameters of model e (its number when all were there) from its state, as those of `MLPStack`."""
        moved, _, *rest = state
        weight = torch.addmm(self.weight[e], self.x[self.of_data[e]].T, moved, alpha=-1)
        return [weight, self.bias[e] - moved.sum(0, keepdim=True), *rest]

    def _offset(self) -> Tensor:
        """What makes an item's number in [T n] its place in [E n]: int64 [E, 1]."""
        models = torch.arange(len(self.number), device=self.number.device)
        sets = torch.tensor(self.of_data, device=self.number.device)[self.number]
        return ((models - sets) * self.x.shape[1])[:, None]

    def _first(self, x: Tensor, e: int) -> Tensor:
        """What model e's first layer gives at first: [n, d] -> [n, H]."""
        return torch.addmm(self.bias[e], x, self.weight[e])
