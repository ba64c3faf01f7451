"""The cases of parity: every combination of choices that makes sense, and small sets of cases that still cover them."""
import dataclasses
import itertools

FAMILIES = ("qwen2", "qwen3", "llama", "mistral")
STRATEGIES = ("full_shard", "shard_grad_op", "shard_optimizer", "no_shard", "hybrid_shard", "hybrid_shard_zero2")
CHECKPOINTING = ("none", "selective", "full")
ACCUMULATIONS = (1, 3)
# dp, tp
MESHES = {"2x2": (2, 2), "4x1": (4, 1), "1x4": (1, 4), "2x1": (2, 1), "1x2": (1, 2), "2x2x2": (4, 2)}


@dataclasses.dataclass(frozen=True, order=True)
class Reference:
    """What the peer's losses depend on."""
    dp: int
    tp: int
    family: str
    tied: bool
    accumulation: int
    dtype: str

    @property
    def world_size(self) -> int:
        return self.dp * self.tp

    @property
    def name(self) -> str:
        return f"{self.family}-{'tied' if self.tied else 'untied'}-{self.dp}x{self.tp}-accumulation{self.accumulation}-{self.dtype}"


@dataclasses.dataclass(frozen=True)
class Case:
    strategy: str
    mesh: str
    sequence_parallel: bool
    checkpointing: str
    accumulation: int
    family: str
    tied: bool
    dtype: str = "float32"

    @property
    def dp(self) -> int:
        return MESHES[self.mesh][0]

    @property
    def tp(self) -> int:
        return MESHES[self.mesh][1]

    @property
    def world_size(self) -> int:
        return self.dp * self.tp

    @property
    def is_hybrid(self) -> bool:
        return self.strategy.startswith("hybrid")

    @property
    def dp_replicate(self) -> int:
        return 2 if self.is_hybrid else self.dp if self.strategy == "no_shard" else 1

    @property
    def name(self) -> str:
        switches = [self.strategy, self.mesh, "sp" if self.sequence_parallel else "nosp", self.checkpointing,
                    f"acc{self.accumulation}", self.family, "tied" if self.tied else "untied", self.dtype]
        return "-".join(switches)

    @property
    def reference(self) -> Reference:
        # The peer does not reduce the gradients of qwen3's q and k norms over tp; its tp = 1 run is the reference.
        return Reference(self.dp, 1 if self.family == "qwen3" else self.tp, self.family, self.tied, self.accumulation, self.dtype)


def is_valid(case: Case) -> bool:
    """Sequence parallelism needs tp; a hybrid needs replicas of shards; eight ranks are for the hybrids alone."""
    if case.sequence_parallel and case.tp == 1:
        return False
    return case.mesh in ("2x2x2", "4x1") if case.is_hybrid else case.mesh != "2x2x2"


def all_cases(dtype: str = "float32") -> list[Case]:
    choices = itertools.product(STRATEGIES, MESHES, (False, True), CHECKPOINTING, ACCUMULATIONS, FAMILIES, (False, True))
    return [case for case in (Case(*choice, dtype) for choice in choices) if is_valid(case)]


def tuples_of(case: Case, strength: int) -> set[tuple]:
    """Every combination of `strength` choices that the case makes, each with the name of what is chosen."""
    chosen = [(field.name, getattr(case, field.name)) for field in dataclasses.fields(case)]
    return set(itertools.combinations(chosen, strength))


def covering_set(cases: list[Case], strength: int) -> list[Case]:
    """A small part of the cases in which every combination of `strength` choices occurs that occurs in any of them.

    Greedy: the case that adds most is next; among equals one whose reference is needed already, since the peer is slow.
    """
    missing = {case: tuples_of(case, strength) for case in cases}
    covered: set[tuple] = set()
    references: set[Reference] = set()
    chosen = []
    while True:
        best = max(missing, key=lambda case: (len(missing[case] - covered), case.reference in references))
        if not missing[best] - covered:
            return chosen
        chosen.append(best)
        covered |= missing[best]
        references.add(best.reference)


def widened(chosen: list[Case], cases: list[Case], count: int) -> list[Case]:
    """The chosen cases and as many more as make `count`, those that add most triples of choices, with references that are needed already."""
    references = {case.reference for case in chosen}
    missing = {case: tuples_of(case, 3) for case in cases if case.reference in references}
    covered = set().union(*(tuples_of(case, 3) for case in chosen))
    wide = list(chosen)
    while len(wide) < count:
        best = max(missing, key=lambda case: len(missing[case] - covered))
        wide.append(best)
        covered |= missing[best]
    return wide


def cases_of_ci() -> list[Case]:
    """60 cases: every pair of choices in float32, every choice in bfloat16, and triples in float32."""
    of_bfloat16 = covering_set(all_cases("bfloat16"), 1)
    return widened(covering_set(all_cases(), 2), all_cases(), 60 - len(of_bfloat16)) + of_bfloat16
