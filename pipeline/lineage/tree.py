"""The graph behind a result: from the file back to stages, data, sources, code, params and run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.lineage import origins, registry_view, resources
from pipeline.lineage.identify import Identified
from pipeline.paths import Paths
from pipeline.tracking.names import PROVENANCE
from pipeline.tracking.statement import Ancestor, Resource, Statement


@dataclass(frozen=True)
class Node:
    """One thing the result depends on."""

    #: Stable: "subject", "statement", "provenance", "run", "params", "lock", "pipeline", "stage:train",
    #: "artifact:data/raw", "file:data/raw/scenes/x.tif", "code:pipeline/x.py", "source:<name>", "input:<name>",
    #: "environment:train", "model_version:<name>/<version>", "unsealing:0", "ancestor:0", "subject:<name>" for the
    #: other finished files; "model", "scene", "settings" and "statement:model" of a prediction.
    id: str
    #: file, statement, provenance, run, model_version, stage, artifact, source, code, params, lock, environment,
    #: unsealing or ancestor.
    kind: str
    #: For people.
    label: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Trace:
    """Nodes, and edges (from, to, how) that lead from a result to what it was made of."""

    root: str
    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str, str], ...]
    #: What would be needed to say more, one sentence each.
    missing: tuple[str, ...] = ()

    def node(self, node_id: str) -> Node | None:
        """A node by its id."""
        return next((node for node in self.nodes if node.id == node_id), None)

    def after(self, node_id: str, how: str = "") -> list[Node]:
        """The nodes that edges from here lead to, all or those of one kind of edge, in the graph's order."""
        ends = {end for start, end, kind in self.edges if start == node_id and how in ("", kind)}
        return [node for node in self.nodes if node.id in ends]

    def to_json(self) -> dict[str, Any]:
        """As plain data, in a stable order."""
        return {
            "root": self.root,
            "nodes": [{"id": n.id, "kind": n.kind, "label": n.label, "facts": dict(n.facts)} for n in self.nodes],
            "edges": [{"from": start, "to": end, "how": how} for start, end, how in self.edges],
            "missing": list(self.missing),
        }


class _Graph:
    """Nodes and edges as they are found; the first node of an id stays."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.edges: dict[tuple[str, str, str], None] = {}

    def node(self, node_id: str, kind: str, label: str, facts: Mapping[str, str]) -> str:
        """Add a node without its empty facts; its id."""
        self.nodes.setdefault(node_id, Node(node_id, kind, label, {k: v for k, v in facts.items() if v}))
        return node_id

    def edge(self, start: str, end: str, how: str) -> None:
        """Add an edge, once."""
        self.edges.setdefault((start, end, how))


def build(identified: Identified, paths: Paths) -> Trace:
    """The graph behind what was identified, as far as what is here says.

    Args:
        identified: the target.
        paths: of the repository that is asked how results came here, and whose MLflow is asked about the run.
    """
    graph, missing = _Graph(), list(identified.missing)
    root = graph.node("subject", "file", identified.name or identified.resource or identified.target, {
        "kind": identified.kind, "target": identified.target, "sha256": identified.sha256,
        "provenance": identified.provenance, "name": identified.name, "resource": identified.resource,
        **identified.facts})
    statement = identified.statement
    if statement is not None:
        _statement(graph, root, statement, identified)
    if identified.provenance or identified.provenance_json is not None:
        found = identified.provenance_json is not None
        graph.node("provenance", "provenance", "provenance.json", {
            "sha256": statement.provenance if statement else identified.provenance,
            "place": identified.provenance_place, "carried by the file": identified.provenance,
            "content": "at hand" if found else "not here"})
        graph.edge(root, "provenance", "carries")
    if identified.is_prediction:
        _prediction(graph, root, identified)
    known = resources.of_model(identified) if identified.is_prediction else resources.known(identified)
    if known is not None:
        _build(graph, "model" if identified.is_prediction else root, known, identified)
        if problem := origins.problem(paths):
            missing.append(problem)
        else:
            _origins(graph, identified.model_statement or statement, known, paths)
    missing += _mlflow(graph, identified, paths)
    return Trace(root, tuple(graph.nodes.values()), tuple(graph.edges), tuple(missing))


def _statement(graph: _Graph, root: str, statement: Statement, identified: Identified) -> None:
    graph.node("statement", "statement", "lineage.json", {
        "place": identified.statement_place, "kind": statement.kind, "finished": statement.finished,
        "files": str(len(statement.subjects)), "provenance": statement.provenance,
        "commit": statement.commit or "", "tree": "" if statement.commit is None else
        "with uncommitted changes" if statement.dirty else "as committed"})
    graph.edge(root, "statement", "named by")
    for name, sha256 in statement.subjects.items():
        if name != identified.name:
            graph.node(f"subject:{name}", "file", name, {"sha256": sha256})
            graph.edge("statement", f"subject:{name}", "names")
    _run(graph, "statement", statement)
    for number, look in enumerate(statement.unsealings):
        graph.node(f"unsealing:{number}", "unsealing", f"look {look.get('look', number + 1)} at the test part",
                   resources.flat(look))
        graph.edge("statement", f"unsealing:{number}", "states")


def _run(graph: _Graph, node: str, statement: Statement) -> None:
    if statement.run_key:
        graph.node("run", "run", statement.run_key, {"key": statement.run_key,
                                                     "registered model": statement.registered_model})
        graph.edge(node, "run", "states")


def _prediction(graph: _Graph, root: str, identified: Identified) -> None:
    """A predicted map: its scene, how that was read, the model, and the model's own statement."""
    statement = identified.statement
    for resource in statement.of_kind("model", "scene") if statement is not None else ():
        is_model = resource.kind == "model"
        graph.node(resource.kind, "file" if is_model else "source", resource.name, _digests(resource))
        graph.edge(root, resource.kind, "made by" if is_model else "made from")
    sha256, behind = identified.facts.get("model sha256", ""), identified.model_statement
    names = [name for name, digest in behind.subjects.items() if digest == sha256] if behind is not None else []
    graph.node("model", "file", names[0] if names else "of unknown name", {"sha256": sha256})
    graph.edge(root, "model", "made by")
    if statement is not None:
        graph.node("settings", "params", "settings", resources.flat(statement.params))
        graph.edge(root, "settings", "made with")
    if behind is not None:
        graph.node("statement:model", "statement", "lineage.json of the model", {
            "place": identified.model_place, "kind": behind.kind, "finished": behind.finished,
            "files": str(len(behind.subjects)), "provenance": behind.provenance, "commit": behind.commit or ""})
        graph.edge("model", "statement:model", "named by")
        _run(graph, "statement:model", behind)


def _build(graph: _Graph, root: str, known: resources.Known, identified: Identified) -> None:
    """The stages of a build, what each read and made, and what its code was."""
    _shared(graph, known)
    artifacts = {r.name: r for r in known.resources if r.kind == "artifact"}
    files: dict[str, list[Resource]] = {}
    for resource in known.resources:
        if resource.kind == "file":
            files.setdefault(resource.artifact, []).append(resource)
    for stage in known.stages:
        node = graph.node(f"stage:{stage}", "stage", stage, {})
        if stage in known.environments:
            graph.node(f"environment:{stage}", "environment", f"environment of {stage}",
                       resources.flat(known.environments[stage]))
            graph.edge(node, f"environment:{stage}", "ran on")
        for shared in ("params", "lock", "pipeline"):
            if shared in graph.nodes:
                graph.edge(node, shared, "reads")
        for name in resources.reads(stage, artifacts):
            graph.edge(node, f"artifact:{name}", "reads")
    for artifact in artifacts.values():
        _artifact(graph, artifact, files.get(artifact.name, []))
    _code(graph, known.resources)
    _sources(graph, known)
    for number, ancestor in enumerate(known.ancestry):
        _ancestor(graph, number, ancestor)
    if name := identified.resource:
        graph.edge(root, f"artifact:{name}" if name in artifacts else f"file:{name}", "is")
    elif "stage:export" in graph.nodes:
        graph.edge(root, "stage:export", "made by")


def _shared(graph: _Graph, known: resources.Known) -> None:
    graph.node("params", "params", "params.yaml", resources.flat(known.params))
    for resource in known.resources:
        if resource.kind in ("lock", "pipeline"):
            graph.node(resource.kind, "lock" if resource.kind == "lock" else "code", resource.name, _digests(resource))


def _artifact(graph: _Graph, artifact: Resource, files: Iterable[Resource]) -> None:
    inside = list(files)
    count = {"files": str(len(inside))} if inside else {}
    node = graph.node(f"artifact:{artifact.name}", "artifact", artifact.name, _digests(artifact) | count)
    for stage in artifact.stages:
        if f"stage:{stage}" in graph.nodes:
            graph.edge(node, f"stage:{stage}", "made by")
    for file in inside:
        graph.node(f"file:{file.name}", "file", file.name, _digests(file))
        graph.edge(node, f"file:{file.name}", "holds")


def _code(graph: _Graph, found: Iterable[Resource]) -> None:
    for resource in found:
        if resource.kind != "code":
            continue
        graph.node(f"code:{resource.name}", "code", resource.name,
                   _digests(resource) | {"stages": ", ".join(resource.stages)})
        for stage in resource.stages:
            if f"stage:{stage}" in graph.nodes:
                graph.edge(f"stage:{stage}", f"code:{resource.name}", "runs")


def _sources(graph: _Graph, known: resources.Known) -> None:
    """Where acquire's files came from; a source is tied to the file of data/raw that has its bytes."""
    by_digest = {r.sha256: r.name for r in known.resources if r.kind == "file" and "acquire" in _makers(known, r)}
    for resource in known.resources:
        if resource.kind not in ("source", "asset", "input"):
            continue
        prefix = "input" if resource.kind == "input" else "source"
        node = graph.node(f"{prefix}:{resource.name}", "source", resource.name,
                          {"from": resource.uri, "licence": resource.licence} | _digests(resource))
        if "stage:acquire" in graph.nodes:
            graph.edge("stage:acquire", node, "fetched")
        if resource.sha256 in by_digest:
            graph.edge(f"file:{by_digest[resource.sha256]}", node, "has the bytes of")


def _makers(known: resources.Known, file: Resource) -> tuple[str, ...]:
    return next((r.stages for r in known.resources if r.kind == "artifact" and r.name == file.artifact), ())


def _ancestor(graph: _Graph, number: int, ancestor: Ancestor) -> None:
    behind = ancestor.statement
    facts = {"sha256": ancestor.sha256, "from": ancestor.uri, "run key": ancestor.run_key,
             "statement": "whole, in lineage.json" if behind else "not found when this model was made"}
    if behind is not None:
        facts |= {"provenance": behind.provenance, "finished": behind.finished, "commit": behind.commit or "",
                  "params.seed": str(behind.params.get("seed", ""))}
    graph.node(f"ancestor:{number}", "ancestor", "weights that the training started from" if number == 0
               else "weights that its start had started from", facts)
    if "stage:train" in graph.nodes:
        graph.edge("stage:train", f"ancestor:{number}", "started from")


def _origins(graph: _Graph, statement: Statement | None, known: resources.Known, paths: Paths) -> None:
    """Say of each stage whether its result was computed here, restored or pulled."""
    for stage, (oid, origin) in origins.of_stages(statement, known.resources, known.stages, paths).items():
        node = graph.nodes.get(f"stage:{stage}")
        if node is not None:
            facts = {**node.facts, "origin": origin, "result": oid}
            graph.nodes[node.id] = Node(node.id, node.kind, node.label, facts)


def _mlflow(graph: _Graph, identified: Identified, paths: Paths) -> tuple[str, ...]:
    """What MLflow knows of the run and of versions of the model."""
    statement = identified.model_statement or identified.statement
    key, provenance = statement.run_key if statement else "", identified.provenance
    if not key and not provenance:
        return ()
    view = registry_view.look(paths, key, provenance or (statement.provenance if statement else ""),
                              statement.raw if statement else None)
    if view.run is not None:
        node = graph.nodes.get("run")
        facts = dict(node.facts) if node else {"key": view.run.key}
        graph.nodes["run"] = Node("run", "run", view.run.key, facts | {
            "MLflow run": view.run.run_id, "name": view.run.name, "status": view.run.status, "MLflow": view.place})
        graph.edge(next(node for node in ("statement:model", "statement", "subject") if node in graph.nodes), "run",
                   "states")
    for version in view.versions:
        node_id = graph.node(f"model_version:{version.name}/{version.version}", "model_version", version.shown, {
            "name": version.name, "version": version.version, "aliases": ", ".join(version.aliases),
            "sha256": version.sha256, "provenance": version.tags.get(PROVENANCE, "")})
        graph.edge("run" if "run" in graph.nodes else "subject", node_id, "registered as")
    return view.missing


def _digests(resource: Resource) -> dict[str, str]:
    return {"sha256": resource.sha256, "md5": resource.md5, "git blob": resource.git_blob}
