"""R copies of any module that the engine knows nothing about.

They run side by side through `vmap` where it can do that, and else one after the other, which any module can.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any
from warnings import filterwarnings

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from methods.contract.changes import Changes
from methods.contract.exporting import CannotShipError
from workflow.lib.engine.noise import Noise
from workflow.lib.engine.stacking import Gradients, Pullback
from workflow.lib.jobs.memory import is_out_of_memory, is_sparing

State = dict[str, Tensor]
filterwarnings("ignore", "There is a performance drop")  # in `vmap`: nothing that a reader of the log could change


class Modules:
    """R modules of one kind, called with any arguments, in which tensors `(R, …)` are one for each replica.

    Tensors `(M, D)` and smaller ones are shared by all replicas. A module may name, as `shared`, tensors of its own
    that are the same objects in all of them: of these there is one copy. Raises ValueError, with the module's name and
    the reason, for modules that can't be stacked or called.
    """

    any_shape = True

    def __init__(self, modules: Sequence[nn.Module], noise: Noise) -> None:
        self._modules, self._noise = modules, noise
        self._kind = type(modules[0]).__name__
        of_model: Collection[str] | None = getattr(modules[0], "shared", None)
        self._shared = frozenset(of_model or ())
        self._buffers = [name for name, _ in modules[0].named_buffers() if name not in self._shared]
        self._of_model = of_model is not None
        self._made = [self._own_of(module.named_parameters()) for module in modules]
        self._state = self._stacked(self._made)
        self._state |= self._stacked([self._own_of(module.named_buffers()) for module in modules])
        trained = [name for name, value in modules[0].named_parameters() if value.requires_grad]
        self.weights = {name: self._state[name].requires_grad_() for name in trained}
        self._beside: set[bool] | None = set()  # in training, or outside: where vmap has worked; None: it can't
        if self._of_model and not any(value.is_cuda for value in self._state.values()):
            self._beside = None  # of a large module on a CPU it saves nothing, and the bytes are those of one alone
        self.training = True

    def _own_of(self, named: Iterable[tuple[str, Tensor]]) -> State:
        """The tensors of a module that no other one has."""
        return {name: value for name, value in named if name not in self._shared}

    @cached_property
    def _began(self) -> State:
        """The weights as they were made: a call puts others in their place."""
        return self._stacked([{name: made[name] for name in self.weights} for made in self._made])

    def moved(self) -> Tensor:
        """The squared distance `(R,)` of the weights from where they began."""
        apart = [weight - self._began[name] for name, weight in self.weights.items()]
        return torch.stack([one.square().flatten(1).sum(1) for one in apart]).sum(0)

    def _stacked(self, states: Sequence[Mapping[str, Tensor]]) -> State:
        if any(is_lazy(value) for value in states[0].values()):
            raise self._refused("it has no sizes before it is called: give it its sizes")
        shapes = [{name: value.shape for name, value in state.items()} for state in states]
        if any(shape != shapes[0] for shape in shapes):
            raise self._refused("the replicas' weights differ in shape, so they can't be trained side by side")
        return {name: torch.stack([state[name].detach() for state in states]) for name in states[0]}

    def _refused(self, reason: object) -> ValueError:
        return ValueError(f"{self._kind} can't be a layer of a head: {reason}")

    @property
    def buffers(self) -> Sequence[Tensor]:
        """Those of all modules."""
        return [self._state[name] for name in self._buffers]

    @property
    def training(self) -> bool:
        return self._modules[0].training

    @training.setter
    def training(self, training: bool) -> None:
        for module in self._modules:
            module.train(training)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves, shape = tree_flatten((args, kwargs))
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

        def call(module: nn.Module, state: State, own: Sequence[Tensor]) -> tuple[Any, State]:
            given = dict(zip(places, own, strict=True))
            args, kwargs = tree_unflatten([given.get(i, leaf) for i, leaf in enumerate(leaves)], shape)
            output = self._called(module, state, args, kwargs)
            return output, {name: state[name] for name in self._buffers}  # some of them new, it may be

        output, buffers = self._run(call, [self._own(leaves[i]) for i in places])
        for name, value in buffers.items():
            self._state[name].copy_(value.detach())
        return output

    def _called(self, module: nn.Module, state: State, args: Any, kwargs: Any) -> Any:
        """The module's output with these tensors in it. They stay there where it is computed again for the gradients.

        That is of one replica. Of a tower no two tensors are the same, as they may be in other modules.
        """
        if not (self._of_model and is_sparing()):
            return functional_call(module, state, args, kwargs)
        for name, tensor in state.items():
            holder, _, last = name.rpartition(".")
            own = module.get_submodule(holder)
            own.__dict__["_parameters" if last in own._parameters else "_buffers"][last] = tensor
        return module(*args, **kwargs)

    def _own(self, tensor: Tensor) -> Tensor:
        """`(R, …)`: the tensor of each replica."""
        replicas = len(self._modules)
        if tensor.dim() <= 2:
            return tensor.expand(replicas, *tensor.shape)
        if len(tensor) != replicas:
            found = f"it was called with {tuple(tensor.shape)}"
            raise self._refused(f"{found}; of three sizes and more the first is that of the {replicas} replicas")
        return tensor

    def _run(self, call: Callable[..., Any], tensors: list[Tensor]) -> tuple[Any, State]:
        """What `call` gives for all replicas, side by side if possible: that is found out at the first call."""
        # Autograd may hold on to the buffers that a call gets, and a call that fails leaves them half changed.
        state = self._state | {name: self._state[name].clone() for name in self._buffers}
        if self._beside is None or is_sparing():  # what is computed again can't be under vmap
            return self._one_by_one(call, state, tensors)
        if self.training in self._beside:
            return self._side_by_side(call, state, tensors)
        try:
            found = self._side_by_side(call, state, tensors)
            self._beside.add(self.training)
            return found
        except Exception as error:
            if is_out_of_memory(error):
                raise
        self._beside = None
        return self._run(call, tensors)

    def _side_by_side(self, call: Callable[..., Any], state: State, tensors: list[Tensor]) -> tuple[Any, State]:
        return vmap(lambda own_state, own: call(self._modules[0], dict(own_state), own))(state, tensors)

    def _one_by_one(self, call: Callable[..., Any], state: State, tensors: list[Tensor]) -> tuple[Any, State]:
        """Each module is called by itself, and draws its random numbers from the generator of its replica."""
        found = []
        for i, module in enumerate(self._modules):
            own = {name: value[i] for name, value in state.items()}
            try:
                with self._noise.of(i, keep=self.training):
                    found.append(call(module, own, [tensor[i] for tensor in tensors]))
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                raise self._refused(f"{type(error).__name__}: {error}") from error
        return tree_map(_together, *found)

    def vjp(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """The output for a training batch `x (R, B, D)`, and how gradients come back from it, by autograd."""
        with torch.enable_grad():
            own = x.detach().requires_grad_()
            output = self(own)

        def pull(gradient: Tensor, inputs: bool = True, late: bool = False) -> tuple[Tensor | None, Gradients]:
            leaves = [*self.weights.values(), *([own] if inputs else [])]
            found = torch.autograd.grad(output, leaves, gradient) if leaves else ()
            return found[-1] if inputs else None, dict(zip(self.weights, found, strict=False))

        return output.detach(), pull

    def changes(self) -> Changes:
        """What of the image tower is other in the first replica's module, which is a part of it."""
        of = getattr(self._modules[0], "changes", None)
        if of is None:
            raise CannotShipError(f"a {self._kind} is no module of `model.image`")
        found: Changes = of(self.state(0))
        return found

    def state(self, replica: int) -> dict[str, Tensor]:
        """What PyTorch's `state_dict` of one replica's module holds, but for counters."""
        counters = "num_batches_tracked"
        return {name: tensor[replica] for name, tensor in self._state.items() if not name.endswith(counters)}


def _together(*values: Any) -> Any:
    """What the replicas gave at one place, side by side; what is no tensor is the same for all."""
    return torch.stack(values) if isinstance(values[0], Tensor) else values[0]
