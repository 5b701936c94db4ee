"""What a method sees and what it gives back: `Method`, `Task`, `Support`, `Replica`, `Candidate`.

Nothing here imports torch or scikit-learn: the Snakefile reads the declarations of every method while it is parsed.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from methods.contract import exporting, needs
from methods.contract.encoder import Model, TextEncoder
from methods.contract.facts import Facts
from methods.contract.params import Param
from methods.contract.program import Program

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Array = Any  # a NumPy array or a torch tensor: a method uses the one it likes
Classifier = Callable[[Array], Array]
Params = Mapping[str, Any]  # the values of a variant, already checked against the declarations

TEXT_LENGTH = 10.0  # of a class text as OpenAI's ViT-B/32 gives it, about: what the published rates belong to
UNIT = 1.001  # no class text is longer: they were made unit


def unit(x: Array) -> Array:
    """Rows of `x (..., D)` divided by their l2 norm; NumPy and torch alike. A zero row stays zero."""
    norm = (x * x).sum(-1)[..., None] ** 0.5
    return x / (norm + (norm == 0))


class Projection(NamedTuple):
    """The last layer of an image tower: `pre @ weight + bias` is the embedding, `weight (D', D)` and `bias (D,)`."""

    weight: Floats
    bias: Floats


@dataclass(frozen=True)
class Support:
    """The labelled images that one seed draws: `x (N, D)` float32 and labels `y (N,)` in 0 … K − 1.

    What `x` holds is for the method to say, and queries hold the same. For a method with `pre` in its needs it is the
    image before the tower's last projection `(N, D')`, as the model gave it, views too. With `spatial_logits` in its
    needs, the unit embedding and what the image's tokens add to the logits stand side by side: see `Task.tokens_apart`.
    With `pixels` it is the image itself, as bytes `(N, H W 3)`, and with `blocks<n>` what goes into the last n blocks
    of the image tower: what a module of `Model.image` takes. Queries then are no array, but give one for a slice.

    `views (N, V, D)` are V augmented views of each image, for a method that has `views` in its needs; None otherwise.
    They are of unit length where x is, and `view_lengths (N, V)` is then what length the backbone gave them: the mean
    of views is not that of unit vectors.
    """

    x: Floats
    y: Labels
    views: Floats | None = None
    view_lengths: Floats | None = None

    def one_hot(self, classes: int) -> Floats:
        """`(N, classes)` float32, a 1 in the column of each label."""
        return np.eye(classes, dtype=np.float32)[self.y]

    def mean_of_views(self) -> "Support":
        """Each image replaced by the mean of its views at their own length, which is then made unit."""
        views = self._views()
        lengths = 1.0 if self.view_lengths is None else self.view_lengths[..., None]
        return Support(unit((views * lengths).mean(1)), self.y)

    def every_view(self) -> "Support":
        """Every view as a sample of its own, `(N · V, D)`; those of an image lie together."""
        views = self._views()
        return Support(views.reshape(-1, views.shape[2]), np.repeat(self.y, views.shape[1]))

    def _views(self) -> Floats:
        if self.views is None:
            raise ValueError("there are no views of the images: the method must name `views` in its needs")
        return self.views


@dataclass(frozen=True, eq=False)
class Replica:
    """One variant with one seed: the parameters, all of them, and the seed of everything random."""

    variant: str
    params: Params
    seed: int

    def rng(self, stream: str = "") -> np.random.Generator:
        """A generator that depends on the seed and the name of the stream alone, never on the other replicas."""
        return np.random.default_rng([self.seed, *stream.encode()])

    def __str__(self) -> str:
        return f"variant {self.variant!r}, seed {self.seed}"


@dataclass(frozen=True)
class Task:
    """Everything that a method may look at. The reported split is not in it.

    `supports` by seed; `text (K, D)` the unit class text embeddings, or None where the features have none;
    `logit_scale` the backbone's exp(logit_scale); `choosing` whether the protocol will choose between candidates, so
    that a grid is worth its time; `device` "cpu" or "cuda"; `threads` for methods that start a thread pool; `log` for
    progress; `engine` what trains the replicas of a method that names one; `curve` how many points of a training are
    scored, 0 for every epoch; `text_raw (K, D)` the mean of each class's text embeddings at the length that the
    backbone gave them, or None; `text_each (K, P, D)` the unit embedding of each of a class's P prompts, for a method
    that has `text_each` in its needs; `projection` what makes embeddings of `pre`, for one that has that; `encoder` the
    frozen text tower, for one that has `text_encoder`; `model` both towers, for one that has `model`.
    """

    supports: Mapping[int, Support]
    classnames: Sequence[str]
    shots: str
    text: Floats | None = None
    logit_scale: float = 100.0
    choosing: bool = False
    device: str = "cpu"
    threads: int = 1
    log: Callable[[str], None] = field(default=lambda line: None)
    engine: "Engine | None" = None
    curve: int = 0
    text_raw: Floats | None = None
    text_each: Floats | None = None
    projection: Projection | None = None
    encoder: TextEncoder | None = None
    model: Model | None = None

    @property
    def classes(self) -> int:
        """K."""
        return len(self.classnames)

    @property
    def dim(self) -> int:
        """D."""
        return int(next(iter(self.supports.values())).x.shape[1])

    def of(self, replica: Replica) -> "Task":
        """The task as the fit of one replica is to see it: of the supports, its own alone."""
        return replace(self, supports={replica.seed: self.supports[replica.seed]})

    def class_text(self) -> Floats:
        """`text (K, D)`, for a method that has declared that it needs it."""
        if self.text is None:
            raise ValueError("these features have no text: the method must name `text` in its needs")
        return self.text

    def each_text(self) -> Floats:
        """`text_each (K, P, D)`, for a method that has declared that it needs it."""
        if self.text_each is None:
            raise ValueError("there are no embeddings prompt by prompt: the method must name `text_each` in its needs")
        return self.text_each

    def last_layer(self) -> Projection:
        """`projection`, for a method that has declared that it needs `pre`."""
        if self.projection is None:
            raise ValueError("there is no projection: the method must name `pre` in its needs")
        return self.projection

    def tokens_apart(self, rows: Array) -> tuple[Array, Array, Array]:
        """Rows `(M, D + 2 K)` of a method that needs `spatial_logits`: unit embeddings `(M, D)`, l₁ and l₂ `(M, K)`."""
        dim = rows.shape[1] - 2 * self.classes
        return rows[:, :dim], rows[:, dim : dim + self.classes], rows[:, dim + self.classes :]

    def scored(self, total: int) -> frozenset[int]:
        """Which of the points 1 … `total` of a training are worth a candidate: `curve` of them at most, the last one
        among them, even in the logarithm, since a training changes most at its beginning.
        """
        if not self.curve or total <= self.curve:
            return frozenset(range(1, total + 1))
        spaced = np.geomspace(1, total, self.curve) if self.curve > 1 else [total]
        return frozenset(round(float(point)) for point in spaced)

    def own_text(self, length: float = 0.0) -> Floats:
        """The class texts `(K, D)` at their own length, or all at `length` where that is given.

        Rates and penalties of heads that start at the texts and are normalised depend on this length. Texts that were
        made unit before they were stored have lost theirs: they get TEXT_LENGTH.
        """
        kept = self.text_raw is not None and np.linalg.norm(self.text_raw, axis=1).max() > UNIT
        if self.text_raw is not None and kept and not length:
            return self.text_raw
        return self.class_text() * np.float32(length or TEXT_LENGTH)

    def trainer(self) -> "Engine":
        """`engine`, for a method that trains. Raises ValueError where the task was made without one."""
        if self.engine is None:
            raise ValueError("this task has no engine: Task(..., engine=workflow.lib.engine.training) brings one")
        return self.engine

    def text_encoder(self) -> TextEncoder:
        """`encoder`, for a method that has declared that it needs it."""
        if self.encoder is None:
            raise ValueError("this task has no text tower: the method must name `text_encoder` in its needs")
        return self.encoder

    def loaded_model(self) -> Model:
        """`model`, for a method that has declared that it needs it."""
        if self.model is None:
            raise ValueError("this task has no model: the method must name `model` in its needs")
        return self.model


@dataclass(frozen=True)
class Candidate:
    """Classifiers that the protocol may choose: replicas at one point of their fit (an epoch, a grid point).

    `logits` maps queries `(M, D)` to `(len(replicas), M, K)`; it is valid until the generator is resumed. `point`
    names what the candidate is, `{"epoch": 12}`. The last candidate that a replica yields is its default: the one
    that is reported when the protocol may choose nothing. `note` reaches the tables as a footnote. `program` writes
    the first replica's classifier down as data, to be shipped; one that is linear needs none.
    """

    replicas: Sequence[Replica]
    logits: Classifier
    point: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    program: Callable[[], Program | None] = lambda: None

    @classmethod
    def of(
        cls,
        replica: Replica,
        classify: Classifier,
        point: Mapping[str, float] | None = None,
        note: str = "",
        program: Callable[[], Program | None] = lambda: None,
    ) -> "Candidate":
        """A candidate of one replica, from a classifier of queries `(M, D)` into `(M, K)`."""
        return cls([replica], partial(_alone, classify), point or {}, note, program)


class Engine(Protocol):
    """What trains replicas side by side: the module `workflow.lib.engine.training` for the heads of `TrainedMethod`."""

    def train(self, method: Any, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        """Train replicas of one shape; a candidate of some of them after every epoch."""
        ...

    def trained(self, method: Any, task: Task, replicas: Sequence[Replica]) -> Iterator[tuple[Sequence[Replica], Any]]:
        """Train replicas of one shape to the end: those of a chunk, and their head as `logits` has it."""
        ...

    def trainable(self, method: Any, task: Task, replica: Replica) -> int:
        """How many numbers one replica learns."""
        ...

    def untrained(self, method: Any, task: Task, replica: Replica) -> Program:
        """What the classifier of one replica is as data before it has learned; CannotShipError where it can't be."""
        ...


class Method:
    """Base of all methods. A small one overrides `classifier`; one that trains yields from `fit` epoch by epoch."""

    name: ClassVar[str]
    params: ClassVar[Mapping[str, Param]] = {}
    paper: ClassVar[str] = ""
    facts: ClassVar[Facts | None] = None  # what the page of methods says about it: formula, cost, use
    gpu: ClassVar[bool] = False  # whether its cells ask for a GPU
    departs: ClassVar[str] = ""  # what of the official recipe it does not do, in one line
    learns: ClassVar[bool] = True  # False: uses no labelled image, so one cell serves all shots and seeds
    engine: ClassVar[str] = ""  # what trains its replicas, as `task.engine`: "heads", or nothing
    imports: ClassVar[Sequence[str]] = ()  # slow modules, imported before the clock of the fit starts
    random_per_class: ClassVar[bool] = False  # draws random numbers for each class, as nn.Linear(D, K) does

    def needs(self, params: Params) -> frozenset[str]:
        """What must be there with these parameters, of `methods.contract.needs`. Where it is not, the cell is n/a with
        the reason.
        """
        return frozenset({"image"})

    def raw(self, params: Params) -> bool:
        """Whether support and queries come as the backbone gave them, not scaled to unit length. `pre` always does."""
        return False

    def trainable(self, task: Task, params: Params) -> int:
        """How many numbers are learned from the support."""
        return 0

    def classifier(self, task: Task, replica: Replica) -> Classifier:
        """A classifier for one replica: maps queries `(M, D)` to logits `(M, K)`."""
        raise NotImplementedError(f"{type(self).__name__} must override `classifier` or `fit`")

    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        """Yield the candidates of every replica, in the order in which they come."""
        for replica in replicas:
            yield Candidate.of(replica, self.classifier(task.of(replica), replica))

    def export(self, task: Task, replica: Replica, point: Mapping[str, float] | None = None) -> Program:
        """Fit a replica and write its classifier down as data, to be shipped: the last candidate, or that at `point`.

        A classifier that is linear in the query is found to be so and becomes a matrix; for another its candidate gives
        a `program`. One that sees images through the backbone's tower has in its program what it has changed there.
        Override it where none of these will do. Raises CannotShipError with the reason where nothing does, and for a
        method that sees more of an image.
        """
        if more := needs.unshippable(self.needs(replica.params)):
            raise exporting.CannotShipError(f"it needs {more}, and what is shipped gets the embedding of an image")
        candidate = None
        for candidate in self.fit(task, [replica]):
            if point is not None and dict(candidate.point) == dict(point):
                break
        if candidate is None:
            raise ValueError(f"{replica}: fit yielded no candidate")
        if point is not None and dict(candidate.point) != dict(point):
            raise ValueError(f"{replica}: fit yielded no candidate at {dict(point)}")
        logits, program, x = candidate.logits, candidate.program, task.supports[replica.seed].x
        if needs.arrays(self.needs(replica.params)):
            embedded = partial(self.as_shipped, task, replica.params)
            return exporting.behind_tower(lambda rows: logits(rows)[0], program, embedded, x)
        return exporting.export(lambda rows: logits(rows)[0], program, x)

    def as_shipped(self, task: Task, params: Params, program: Program, x: Array) -> Floats:
        """What a `program` of `export` takes, of rows `x (M, …)` as the method sees images: these, or embeddings
        `(M, D)` through the image tower with the changes that the program has.
        """
        wanted = needs.arrays(self.needs(params))
        if not wanted:
            found: Floats = x
            return found
        found = task.loaded_model().embeddings(x, needs.depth(wanted[0]), program.tower)
        return found if self.raw(params) else unit(found)

    @classmethod
    def defaults(cls, settings: Params) -> dict[str, Any]:
        """The value of every parameter that `settings` leaves out. Override it where a default depends on others."""
        return {name: param.default for name, param in cls.params.items()}

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(cls) or "").split("\n")[0]


def _alone(classify: Classifier, queries: Array) -> Array:
    """Logits `(1, M, K)` of one replica's classifier."""
    return classify(queries)[None]
