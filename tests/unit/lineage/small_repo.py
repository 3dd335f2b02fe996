"""A git repository of a few files, and statements about what they once held."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.params.load import Params
from pipeline.tracking.oids import git_blob
from pipeline.tracking.statement import Resource, Statement
from tests.git_call import git

FILES = {"pipeline/a.py": "a = 1\n", "pipeline/geo/b.py": "b = 1\n", "requirements.lock": "x==1\n",
         "dvc.yaml": "y: 1\n"}
KINDS = {"requirements.lock": "lock", "dvc.yaml": "pipeline"}


class Repo:
    """The repository at `top`, whose project is all of it or its folder `prefix`."""

    def __init__(self, root: Path, params: dict[str, Any], prefix: str = "") -> None:
        self.top, self.root, self.params = root, root / prefix, params
        self.root.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch", "main")
        self.write(FILES)
        self.write_params()

    def git(self, *words: str) -> str:
        return git(self.top, *words)

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(text, encoding="utf-8")

    def write_params(self) -> None:
        with (self.root / "params.yaml").open("w", encoding="utf-8") as file:
            YAML().dump(self.params, file)

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "state")
        return self.git("rev-parse", "HEAD")

    def statement(self, commit: str | None = None, md5: str = "") -> Statement:
        """About the files as they lie there now."""
        resources = [Resource(name, KINDS.get(name, "code"), "", git_blob=git_blob((self.root / name).read_bytes()))
                     for name in FILES]
        if md5:
            resources.append(Resource("data/raw", "artifact", "", md5=md5))
        return Statement("export", "", {}, tuple(resources), Params(self.params).dump(), {}, "", {}, commit, False, "",
                         (), (), "", {})
