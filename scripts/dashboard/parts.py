"""Builds the panels of the Grafana dashboard from `panels.py`, with Grafana's own library."""

from __future__ import annotations

from string import ascii_uppercase

from grafana_foundation_sdk.builders import common, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    GraphTresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TableCellDisplayMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from .panel import SOURCE, Panel

Made = stat.Panel | timeseries.Panel | table.Panel


def build(panel: Panel, number: int) -> Made:
    """Return what Grafana's library makes of a panel."""
    made = {"stat": _stat, "lines": _lines, "table": _table}[panel.kind](panel)
    made.id(number).title(panel.title).description(panel.description).datasource(SOURCE)
    made.unit(panel.unit).span(panel.width).height(panel.height)
    made.thresholds(
        ThresholdsConfig()
        .mode(ThresholdsMode.ABSOLUTE)
        .steps([Threshold(value=value, color=colour) for value, colour in panel.steps])
    )
    if panel.states and panel.kind != "table":
        made.mappings(_mappings(panel))
    for letter, query in zip(ascii_uppercase, panel.queries, strict=False):
        asked = prometheus.Dataquery().ref_id(letter).expr(query.expr).datasource(SOURCE)
        if query.legend:
            asked.legend_format(query.legend)
        if panel.kind == "lines":
            made.with_target(asked.range())
        else:
            form = PromQueryFormat.TABLE if panel.kind == "table" else PromQueryFormat.TIME_SERIES
            made.with_target(asked.instant().format(form))
    return made


def _mappings(panel: Panel) -> list[ValueMapping]:
    return [
        ValueMap({value: ValueMappingResult(text=text, color=colour) for value, text, colour in panel.states})
    ]


def _stat(panel: Panel) -> Made:
    newest = common.ReduceDataOptions().calcs(["lastNotNull"])
    return stat.Panel().reduce_options(newest).graph_mode(BigValueGraphMode.NONE)


def _lines(panel: Panel) -> Made:
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    made = (
        timeseries.Panel()
        .legend(legend.show_legend(True))
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .fill_opacity(10)
        .min(0)
    )
    if len(panel.steps) > 1:
        made.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.DASHED))
    if panel.stacked:
        made.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    return made


def _table(panel: Panel) -> Made:
    """Return a table of the columns that are named, and of no other label."""
    order = {label: place for place, (label, _) in enumerate(panel.columns)}
    made = (
        table.Panel()
        .with_transformation(DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": list(order)}})
        )
        .with_transformation(
            DataTransformerConfig(
                id_val="organize",
                options={"excludeByName": {}, "indexByName": order, "renameByName": dict(panel.columns)},
            )
        )
    )
    if panel.sort is not None:
        title, descends = panel.sort
        made.sort_by([common.TableSortByFieldState().display_name(title).desc(descends)])
    for title, unit in panel.units:
        made.override_by_name(title, [DynamicConfigValue("unit", unit)])
    if panel.states:
        cell = {"type": TableCellDisplayMode.COLOR_TEXT}
        made.override_by_name(
            "State",
            [
                DynamicConfigValue("mappings", _mappings(panel)),
                DynamicConfigValue("custom.cellOptions", cell),
            ],
        )
    return made
