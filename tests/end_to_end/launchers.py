"""The environment of a process that no launcher has started."""
import os

OF_LAUNCHERS = ("RANK", "WORLD_SIZE", "MASTER_", "TORCHELASTIC_", "OMPI_", "PMI", "SLURM_", "PET_", "RAY_", "GLOO_")


def without_launchers() -> dict[str, str]:
    """Ours, without what a launcher around the tests may have set."""
    kept = {name: value for name, value in os.environ.items() if not any(word in name for word in OF_LAUNCHERS)}
    return kept | {"OMP_NUM_THREADS": "1"}
