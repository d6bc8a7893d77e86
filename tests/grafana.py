"""The dashboard as a TypeScript program that compiles if it fits Grafana's own types: `make dashboard`."""

import json
from pathlib import Path

DASHBOARD = Path(__file__).parents[1] / "deploy" / "grafana" / "dashboard.json"
_RAW = "@grafana/schema/dist/esm/raw/composable"
_SERIES = f"{_RAW}/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen"
_STAT = f"{_RAW}/stat/panelcfg/x/StatPanelCfg_types.gen"
_HEAD = f"""
import type {{Dashboard, DataQuery, Panel, RowPanel}} from '@grafana/schema';
import type {{Options as TimeSeries, FieldConfig}} from '{_SERIES}';
import type {{Options as Stat}} from '{_STAT}';
// JSON has the values of enumerations, not their names.
type Json<T> = T extends string ? `${{T}}` : T extends (infer U)[] ? Json<U>[]
    : T extends object ? {{[K in keyof T]: Json<T[K]>}} : T;
// Of the data source; the schema leaves it to that.
type Query = DataQuery & {{expr: string; legendFormat?: string; range?: boolean; editorMode?: 'code'}};
"""


def program() -> str:
    """Each part as a constant of its type, since a cast would allow for anything."""
    dashboard = json.loads(DASHBOARD.read_text())
    typed: list[tuple[str, object]] = []
    for note in dashboard["annotations"]["list"]:
        if "target" in note:
            typed.append(("Query", note.pop("target")))
            # The data source's, too: what to call what it finds.
            note.pop("titleFormat")
    for panel in dashboard.pop("panels"):
        kind = {"row": "RowPanel"}.get(panel["type"], "Panel")
        typed.append((kind, panel))
        if kind == "Panel":
            options = {"timeseries": "TimeSeries", "stat": "Stat"}[panel["type"]]
            typed.append((f"Partial<{options}>", panel["options"]))
            typed.append(("Query[]", panel["targets"]))
            typed.append(("FieldConfig", panel["fieldConfig"]["defaults"].get("custom", {})))
    typed.append(("Dashboard", dashboard))
    return _HEAD + "".join(
        f"const part{k}: Json<{kind}> = {json.dumps(value)};\n" for k, (kind, value) in enumerate(typed)
    )


if __name__ == "__main__":
    print(program())  # noqa: T201
