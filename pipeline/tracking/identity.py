"""Tags that say what a run was made of: digests of params, lock, code and data, under `kumulus.`.

Commits come after results, so digests are the identity and a commit is found by them. Imports no mlflow.
"""

from pathlib import PurePosixPath

from pipeline.digests import (
    CODE_ROOT,
    LOCK_FILE,
    canonical_sha256,
    file_sha256,
    path_sha256,
    stage_code,
    stage_data,
    stage_params,
)
from pipeline.params.load import Params
from pipeline.paths import Paths


def identity(paths: Paths, params: Params, stage: str) -> dict[str, str]:
    """The stage's `kumulus.*` tags: seed, params_sha256, lock_sha256, code_sha256 and data_<name>_sha256.

    Params are those dvc.yaml lists for the stage, with defaults filled in; code and lock are those of the
    running project; data are the files and folders below `paths.root` that dvc.yaml lists as deps.

    Raises:
        IntegrityError: dvc.yaml does not know the stage, or a dep is not there.
    """
    plain = params.dump()
    tags = {
        "kumulus.stage": stage,
        "kumulus.seed": str(params.seed),
        "kumulus.params_sha256": canonical_sha256(stage_params(CODE_ROOT, stage, plain)),
        "kumulus.lock_sha256": file_sha256(CODE_ROOT / LOCK_FILE),
        "kumulus.code_sha256": canonical_sha256(stage_code(CODE_ROOT, stage)),
    }
    data = data_digests(paths, params, stage)
    return tags | {f"kumulus.data_{name}_sha256": digest for name, digest in data.items()}


def data_digests(paths: Paths, params: Params, stage: str) -> dict[str, str]:
    """{name: digest} of the stage's data deps; a name is a path's last part, or all where two share it.

    Raises:
        IntegrityError: a dep is not there.
    """
    deps = stage_data(CODE_ROOT, stage, params.dump())
    last = [PurePosixPath(dep).name for dep in deps]
    return {
        name if last.count(name) == 1 else dep.strip("/").replace("/", "_"): path_sha256(paths.root / dep)
        for dep, name in zip(deps, last, strict=True)
    }
