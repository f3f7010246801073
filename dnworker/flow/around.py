"""`around`: the part of a graph that one worker is in; `maps` draws it alone where that is wanted."""

from __future__ import annotations

from dnworker.flow.graph import Graph, worker_id


def around(graph: Graph, worker: str) -> Graph:
    """Return a worker, the kinds that it hears and publishes, and who else publishes and hears those.

    Args:
        graph: the whole, with its cycles found; its marks stay true, as all edges of these kinds are kept.
        worker: its qualified name; of a worker that is not in the graph there is nothing.
    """
    me = worker_id(worker)
    kinds = {end for key in graph.edges if me in key for end in key if end != me}
    edges = {key: edge for key, edge in graph.edges.items() if kinds.intersection(key)}
    kept = {me, *(end for key in edges for end in key)}
    nodes = {name: node for name, node in graph.nodes.items() if name in kept}
    bands = {node.band for node in nodes.values()}
    return Graph(
        nodes=nodes,
        edges=edges,
        bands=[band for band in graph.bands if band in bands],
        cycles=[one for one in graph.cycles if one.back in edges and kept.issuperset(one.nodes)],
        minutes=graph.minutes,
        grid=graph.grid,
    )
