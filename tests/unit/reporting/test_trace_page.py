"""The lineage page as text: what is folded where, what is escaped, what a verification puts on top."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.reporting.trace_checks import Checks
from pipeline.reporting.trace_graph import draw_graph
from pipeline.reporting.trace_page import trace_page, write_page
from pipeline.reporting.trace_svg import shortened, text

Build = Callable[..., dict[str, Any]]


def trace(edges: str, kinds: dict[str, str] | None = None) -> dict[str, Any]:
    """Nodes by the letters of edges such as "a>b b>c"; a is the root; kinds are artifacts but for those given."""
    pairs = [pair.split(">") for pair in edges.split()]
    names = dict.fromkeys(["a", *(name for pair in pairs for name in pair)])
    return {"root": "a", "missing": [], "edges": [{"from": a, "to": b, "how": "reads"} for a, b in pairs],
            "nodes": [{"id": name, "kind": (kinds or {}).get(name, "artifact"), "label": name, "facts": {}}
                      for name in names]}


def places(found: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {name: (cell.row, cell.column) for name, cell in draw_graph(found).cells.items()}


def ways(found: dict[str, Any]) -> dict[str, tuple[str, int]]:
    return {f"{line.start}>{line.end}": (line.way, line.lane) for line in draw_graph(found).lines}


def test_rows_follow_the_longest_way_and_long_edges_get_lanes() -> None:
    found = trace("a>b b>c c>d d>e a>c a>e b>e")
    assert places(found) == {"a": (0, 0), "b": (1, 0), "c": (2, 0), "d": (3, 0), "e": (4, 0)}
    assert ways(found) == {"a>b": ("down", -1), "b>c": ("down", -1), "c>d": ("down", -1), "d>e": ("down", -1),
                           "a>c": ("left", 0), "a>e": ("left", 1), "b>e": ("left", 1)}


def test_lanes_that_do_not_meet_are_one() -> None:
    found = trace("a>b b>c a>c c>d d>e e>f d>f")
    assert ways(found)["a>c"] == ("left", 0)
    assert ways(found)["d>f"] == ("left", 0)
    assert draw_graph(found).left_lanes == 1


def test_a_wide_row_goes_on_below() -> None:
    found = trace("a>b a>c a>d a>e a>f b>g")
    assert places(found) == {"a": (0, 0), "b": (1, 0), "c": (1, 1), "d": (1, 2), "e": (1, 3), "f": (2, 0), "g": (3, 0)}


def test_a_circle_ends_where_it_would_close() -> None:
    assert places(trace("a>b b>c c>a c>b")) == {"a": (0, 0), "b": (1, 0), "c": (2, 0)}


def test_what_the_root_does_not_lead_to_is_listed_but_not_drawn() -> None:
    found = trace("a>b c>b")
    assert set(places(found)) == {"a", "b"}
    page = trace_page(found)
    assert "not behind this file" in page
    assert page.count("<a class=\"cell") == 2


def test_a_long_chain_needs_no_deep_stack() -> None:
    names = [f"n{number}" for number in range(3000)]
    found = trace(" ".join(f"{a}>{b}" for a, b in zip(["a", *names], names, strict=False)))
    assert draw_graph(found).rows == 3001


def test_files_go_into_their_artifact_and_code_into_its_stage(build_trace: Build) -> None:
    cells = draw_graph(build_trace()).cells
    assert cells["artifact:data/raw"].members == (
        "artifact:data/raw", "file:data/raw/scenes/x.tif", "file:data/raw/labels.gpkg")
    assert cells["code of stage:train"].members == ("code:pipeline/paths.py", "code:pipeline/training/step.py")
    assert cells["code of stage:export"].members == ("code:pipeline/paths.py",)
    assert cells["file of statement"].members == ("subject:model.onnx", "subject:provenance.json")
    assert not any(cell.kind == "file" and name != "subject" and not cell.is_group for name, cell in cells.items())


@pytest.mark.parametrize(("sources", "boxes"), [(4, 4), (5, 1), (500, 1)])
def test_many_sources_become_one_box(build_trace: Build, sources: int, boxes: int) -> None:
    cells = draw_graph(build_trace(sources=sources)).cells.values()
    drawn = [cell for cell in cells if cell.kind == "source"]
    assert len(drawn) == boxes
    assert sum(len(cell.members) for cell in drawn) == sources


def test_what_stages_share_hangs_on_one_rail(build_trace: Build) -> None:
    drawing = draw_graph(build_trace())
    rail = {(line.end, line.lane) for line in drawing.lines if line.way == "right"}
    assert rail == {("params", 0), ("lock", 0)}
    assert drawing.right_lanes == 1
    last = max(cell.row for cell in drawing.cells.values())
    assert drawing.cells["params"].row == drawing.cells["lock"].row == last


def test_a_file_that_an_artifact_holds_leads_on_through_it(build_trace: Build) -> None:
    found = build_trace()
    found["edges"] = [edge for edge in found["edges"] if edge["to"] != "stage:export"]
    weights = "file:models/checkpoint/members/0/weights.safetensors"
    found["edges"].append({"from": "subject", "to": weights, "how": "is"})
    assert "stage:train" in draw_graph(found).cells
    assert "stage:export" not in draw_graph(found).cells


def test_every_node_is_on_the_page_and_no_id_is_twice(build_trace: Build, verified: Build) -> None:
    found = verified(build_trace(), absent="source:0")
    page = trace_page(found)
    for node in found["nodes"]:
        name = node["facts"].get("name", node["label"])  # a run is called by its name, and its key is a fact
        assert f">{name}<" in page or f"> {name} <" in page
        for value in node["facts"].values():
            assert f">{value}<" in page
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))


def test_a_lone_file_has_a_page_that_says_what_is_missing() -> None:
    found = {**trace(""), "missing": ["lineage.json is not here: <bring it>"], "notes": ["known by its tag"]}
    page = trace_page(found)
    assert "lineage.json is not here: &lt;bring it&gt;" in page
    assert "known by its tag" in page
    assert "Not verified." in page


def test_equal_traces_give_equal_bytes(build_trace: Build, verified: Build, tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_page(tmp_path / name, verified(build_trace()))
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.html", "b.html"]


def test_nothing_on_the_page_points_elsewhere(build_trace: Build, verified: Build) -> None:
    page = trace_page(verified(build_trace()))
    assert "https://example.org/0.tif" in page  # where a source came from is text
    targets = re.findall(r"""(?:href|src|srcset|action|data|poster|xlink:href)\s*=\s*["']?([^"'\s>]*)""", page)
    assert {target for target in targets if not target.startswith("#")} == {"data:,"}
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest|WebSocket|sendBeacon|import\(", page)
    assert "default-src 'none'" in page
    assert "unsafe" not in page
    assert not re.search(r"<[^>]*\s(?:style|on[a-z]+)=", page)


@pytest.mark.parametrize(("value", "shown"), [
    ('<img src=x onerror="a&b">', "&lt;img src=x onerror=&quot;a&amp;b&quot;&gt;"),
    ("it's", "it&#x27;s"),
    ("a\u202egpj.exe", "a\\u202egpj.exe"),
    ("zero\u200bwidth\x00\n", "zero\\u200bwidth\\u0000\\u000a"),
    ("lone \udcff byte", "lone \\udcff byte"),
    ("雲.tif", "雲.tif"),
])
def test_text_is_escaped_and_what_hides_is_spelled_out(value: str, shown: str) -> None:
    assert text(value) == shown
    text(value).encode()


def test_names_keep_their_end_and_notes_their_beginning() -> None:
    assert shortened("maps/a.tif", 20, keep_end=True) == "maps/a.tif"
    name = shortened("models/checkpoint/members/0/weights.safetensors", 14, keep_end=True)
    assert name.startswith("model")
    assert name.endswith("safetensors")
    assert "…" in name
    assert shortened("verified by hand", 5, keep_end=False).startswith("verif")
    assert shortened("verified by hand", 5, keep_end=False).endswith("…")


def link(node: str, verdict: str) -> dict[str, Any]:
    return {"node": node, "name": node, "place": "", "verdict": verdict, "expected": "", "found": "", "message": ""}


@pytest.mark.parametrize(("found", "together"), [
    ("a:verified a:absent", "verified"),  # found at one place
    ("a:verified a:contradicted", "contradicted"),
    ("a:absent a:moved_on", "absent"),
    ("a:verified b:absent", "absent"),
    ("a:verified b:moved_on", "moved_on"),
    ("a:absent b:contradicted", "contradicted"),
    ("c:verified", ""),
])
def test_verdicts_of_places_and_of_nodes_add_up(found: str, together: str) -> None:
    links = [link(*one.split(":")) for one in found.split()]
    assert Checks({"verdict": "", "first_broken": None, "links": links}).worst(["a", "b"]) == together


def test_first_broken_link_stands_before_the_graph(build_trace: Build, verified: Build) -> None:
    page = trace_page(verified(build_trace(), contradicted="file:data/raw/labels.gpkg", absent="source:0"))
    assert page.index("First broken link") < page.index('id="graph"')
    assert re.search(r'First broken link: <a href="#e\d+-2">data/raw/labels.gpkg</a>', page)
    assert "Contradicted" in page
    assert "Unverifiable" in trace_page(verified(build_trace(), absent="source:0"))
    assert "First broken link" not in trace_page(verified(build_trace()))


def test_signature_and_replay_have_their_say(build_trace: Build) -> None:
    page = trace_page({
        **build_trace(),
        "signature": {"verdict": "absent", "message": "no signature"},
        "replay": {"verdict": "contradicted", "message": "weights differ", "notes": ["cloned"],
                   "environment": ["cpu: A -> B"], "compared": [
                       {"name": "model.onnx", "kind": "file", "equal": True, "measured": {}, "note": ""},
                       {"name": "weights", "kind": "weights", "equal": False, "note": "outside tolerance",
                        "measured": {"largest_relative": 0.25}}]},
    })
    assert "Signature: unverifiable" in page
    assert "Replay: contradicted" in page
    assert "weights differs largest relative 0.25 outside tolerance" in page
    assert "differs here: cpu: A -&gt; B" in page
    assert "model.onnx differs" not in page


def test_absences_that_do_not_count_are_told_apart(build_trace: Build, verified: Build) -> None:
    found = verified(build_trace(), absent="params")
    for one in found["verify"]["links"]:
        one["counts"] = False
    assert "1 not here (1 beside the way)" in trace_page(found)
