"""A trace as text for a terminal: from the result over its records and stages back to its sources, 80 to 120 columns.

Files of code are counted by stage, files of data by artifact; `--code` lists them, `--json` has all there is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from pipeline.lineage.identify import Identified
from pipeline.lineage.tree import Node, Trace

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

_LEAST, _MOST = 80, 120

#: How a kind of target is called.
_KINDS = {"onnx": "ONNX model", "geotiff": "GeoTIFF", "geopackage": "GeoPackage", "geoparquet": "GeoParquet",
          "checkpoint": "checkpoint", "statement": "statement", "provenance": "statement of provenance",
          "card": "model card", "mlflow_model": "model in MLflow", "mlflow_run": "run in MLflow", "file": "file"}

#: What an environment says first; --json has the rest.
_ENVIRONMENT = {"device": "{}", "cpu": "{}", "threads": "threads {}", "precision": "{}", "world_size": "processes {}",
                "python": "Python {}", "libraries.torch": "torch {}", "libraries.numpy": "numpy {}"}

#: Facts of the target that have lines of their own.
_OWN = ("kind", "target", "sha256", "provenance", "name", "resource", "model sha256")

#: Colour of a mark.
_STYLES = {"verified": "green", "contradicted": "bold red"}


@dataclass
class Entry:
    """A line, the nodes it is about (those it counts among them), and what stands below it."""

    text: str
    nodes: tuple[str, ...] = ()
    below: list["Entry"] = field(default_factory=list)

    def add(self, text: str, *nodes: str) -> "Entry":
        """Put a line below this one."""
        self.below.append(Entry(text, nodes))
        return self.below[-1]


def show(trace: Trace, identified: Identified, out: TextIO, *, code: bool = False,
         marks: Mapping[str, str] | None = None) -> None:
    """Print a trace.

    Args:
        trace: the graph.
        identified: what it is about.
        out: where to; colours only on a terminal.
        code: list the files of code and data, with their digests.
        marks: node id -> a word on what its check came to, such as "contradicted".
    """
    from rich.console import Console
    from rich.tree import Tree

    console = Console(file=out, highlight=False, markup=False, emoji=False)
    console.width = min(max(console.width, _LEAST), _MOST)
    top = outline(trace, identified, code)
    tree = Tree(_label(top, marks or {}))
    _fill(tree, top.below, marks or {})
    console.print(tree)
    for title, lines in (("note", identified.notes), ("not here", trace.missing)):
        for text in lines:
            console.print(f"{title}: {text}")


def outline(trace: Trace, identified: Identified, code: bool = False) -> Entry:
    """The lines of a trace, from the result down to its sources."""
    facts = trace.nodes[0].facts
    top = Entry(f"{identified.target}: {_KINDS[identified.kind]}", (trace.root,))
    if sha256 := facts.get("sha256"):
        top.add(f"sha256 {sha256}")
    if name := facts.get("name"):
        top.add(f"known as {name}")
    for key, value in facts.items():
        if key not in _OWN:
            top.add(f"{key}: {value}")
    _records(top, trace, code)
    _prediction(top, trace)
    inside = trace.after(trace.root, "is")
    for node in inside:
        top.add(f"it is {node.label}, which the build of this trace used", node.id)
    stages = [node for node in trace.nodes if node.kind == "stage"]
    if stages:
        _shared(top, trace)
    machine = ""
    for stage in reversed(stages):
        machine = _stage(top, trace, stage, code, machine)
    return top


def _records(top: Entry, trace: Trace, code: bool) -> None:
    """lineage.json, provenance.json, the run, and what each says."""
    if node := trace.node("statement"):
        files, facts = node.facts["files"], node.facts
        named = trace.after(node.id, "names")
        entry = top.add(f"lineage.json: {files} files, finished {facts['finished']}", node.id,
                        *(file.id for file in named))
        entry.add(f"at {facts['place']}")
        for file in named if code else ():
            entry.add(f"{file.label}  {_short(file)}", file.id)
        if commit := facts.get("commit"):
            entry.add(f"commit {commit}, {facts['tree']}")
    if node := trace.node("provenance"):
        entry = top.add(f"provenance.json: {node.facts.get('place', 'not here')}", node.id)
        if sha256 := node.facts.get("sha256"):
            entry.add(f"sha256 {sha256}" + (", as the file says" if "carried by the file" in node.facts else ""))
    if node := trace.node("run"):
        entry = top.add(f"run {node.label}" + (f", {node.facts['status']}" if "status" in node.facts else ""), node.id)
        if run_id := node.facts.get("MLflow run"):
            entry.add(f"MLflow run {run_id} at {node.facts['MLflow']}")
    for node in trace.nodes:
        if node.kind == "model_version":
            top.add(f"registered as {node.label}", node.id)
        if node.kind == "unsealing":
            when = node.facts.get("time", "")
            top.add(node.label + (f", {when}" if when else ""), node.id)


def _prediction(top: Entry, trace: Trace) -> None:
    for node_id, text in (("model", "made by model"), ("scene", "made from scene")):
        if node := trace.node(node_id):
            entry = top.add(f"{text} {node.label}", node.id)
            entry.add(f"sha256 {node.facts.get('sha256', 'unknown')}")
            for behind in trace.after(node.id, "named by"):
                entry.add(f"of the export finished {behind.facts['finished']}, at {behind.facts['place']}", behind.id)
    if node := trace.node("settings"):
        changed = ", ".join(f"{key} {value}" for key, value in node.facts.items())
        top.add(f"read with {changed}", node.id)


def _shared(top: Entry, trace: Trace) -> None:
    """What all stages have in common."""
    if node := trace.node("params"):
        seed = f"seed {node.facts['seed']}, " if "seed" in node.facts else ""
        top.add(f"params.yaml: {seed}{len(node.facts)} values", node.id)
    for node_id in ("lock", "pipeline"):
        if node := trace.node(node_id):
            top.add(f"{node.label}: sha256 {_short(node)}", node.id)


def _stage(top: Entry, trace: Trace, stage: Node, code: bool, machine: str) -> str:
    """A stage: what it made, read and ran, on what; of acquire where the data came from. Returns the machine."""
    origin = stage.facts.get("origin")
    entry = top.add(f"{stage.label}" + (f": {origin}" if origin else ""), stage.id)
    makes = {start for start, end, how in trace.edges if end == stage.id and how == "made by"}
    for node in trace.nodes:
        if node.id in makes and node.kind == "artifact":
            _artifact(entry, trace, node, code)
    if read := [node.label for node in trace.after(stage.id, "reads") if node.kind == "artifact"]:
        entry.add(f"read {', '.join(read)}")
    if files := trace.after(stage.id, "runs"):
        group = entry.add(f"ran {len(files)} {_many(len(files))} of code", *(node.id for node in files))
        for node in files if code else ():
            group.add(f"{node.label}  {_short(node)}", node.id)
    for node in trace.after(stage.id, "ran on"):
        if text := _environment(node.facts):
            entry.add("on the same" if text == machine else f"on {text}", node.id)
            machine = text
    for node in trace.after(stage.id, "started from"):
        where = f" from {node.facts['from']}" if "from" in node.facts else ""
        entry.add(f"{node.label}{where}, sha256 {_short(node)}; statement {node.facts['statement']}", node.id)
    for node in trace.after(stage.id, "fetched"):
        where = f" from {node.facts['from']}" if "from" in node.facts else ""
        licence = f", licence {node.facts['licence']}" if "licence" in node.facts else ""
        entry.add(f"source {node.label}{where}{licence}, sha256 {_short(node)}", node.id)
    return machine


def _artifact(entry: Entry, trace: Trace, node: Node, code: bool) -> None:
    files = trace.after(node.id, "holds")
    count = f", {len(files)} {_many(len(files))}" if files else ""
    made = entry.add(f"made {node.label}{count}, sha256 {_short(node)}", node.id,
                     *(file.id for file in files))
    for file in files if code else ():
        made.add(f"{file.label}  {_short(file)}", file.id)


def _environment(facts: Mapping[str, str]) -> str:
    return ", ".join(words.format(facts[key]) for key, words in _ENVIRONMENT.items() if key in facts)


def _many(count: int) -> str:
    return "file" if count == 1 else "files"


def _short(node: Node) -> str:
    return node.facts.get("sha256", "")[:12]


def _label(entry: Entry, marks: Mapping[str, str]) -> "Text":
    from rich.text import Text

    label = Text(entry.text, overflow="fold")
    mark = _worst([marks[node] for node in entry.nodes if node in marks])
    if mark:
        label.append(f"  [{mark}]", style=_STYLES.get(mark, "yellow"))
    return label


def _worst(marks: Sequence[str]) -> str:
    """Contradicted where one is; else the first that is not verified; "" where there is none."""
    ordered = sorted(marks, key=lambda mark: (mark != "contradicted", mark == "verified"))
    return ordered[0] if ordered else ""


def _fill(tree: "Tree", entries: Sequence[Entry], marks: Mapping[str, str]) -> None:
    for entry in entries:
        _fill(tree.add(_label(entry, marks)), entry.below, marks)
