"""The report's style sheet: light and dark, screen, phone and paper."""

CSS = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --soft: #f2f4f7; --line: #c9ced6; --quiet: #57606a;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #cc79a7; --link: #005a8e; --warn: #7a4b00; --warn-paper: #fff4dd;
  --c4: #a37500; --c5: #3a8fc4; --c6: #7a5195; --c7: #1b1f24; --better: #00704f; --worse: #b34700; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #14171a; --soft: #1e2328; --line: #3d444d; --quiet: #9aa4af;
  --c0: #56b4e9; --c1: #e69f00; --c2: #2bc79b; --c3: #e59bc4; --link: #7cc4f0; --warn: #ffd48a; --warn-paper: #33270f;
  --c4: #ffd24d; --c5: #a5d8ff; --c6: #c9a6e4; --c7: #e6e8eb; --better: #2bc79b; --worse: #ff9a4d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 1.25rem; margin: 40px 0 12px; padding-bottom: 4px; border-bottom: 1px solid var(--line); }
.lead { color: var(--quiet); overflow-wrap: anywhere; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 16px; padding: 0; margin: 12px 0 0; font-size: .92rem; }
a { color: var(--link); }
h3 { font-size: 1.02rem; margin: 24px 0 8px; }
summary { cursor: pointer; } dt { font-weight: 600; margin-top: 8px; } dd { margin: 0; max-width: 72ch; }
p { max-width: 72ch; margin: 8px 0; }
small { color: var(--quiet); font-size: .82em; display: block; white-space: nowrap; }
.tiles { list-style: none; display: grid; grid-template-columns: repeat(auto-fit, minmax(180px, 1fr)); gap: 12px; padding: 0; margin: 20px 0; }
.tiles li { background: var(--soft); border-radius: 8px; padding: 12px 14px; }
.tiles .name { display: block; color: var(--quiet); font-size: .9rem; }
.tiles strong { font-size: 1.7rem; font-variant-numeric: tabular-nums; }
.warnings { background: var(--warn-paper); color: var(--warn); border-radius: 8px; padding: 8px 16px; }
.warnings h3 { margin: 4px 0; } .warnings ul { margin: 4px 0; padding-left: 20px; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); gap: 20px; }
.maps { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 16px; max-width: 860px; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); gap: 16px; }
figure { margin: 0; break-inside: avoid; }
figcaption { font-size: .88rem; color: var(--quiet); overflow-wrap: anywhere; } figcaption strong { display: block; }
.gallery img { width: 100%; height: auto; display: block; border-radius: 4px; background: #000; }
.no-image { display: grid; place-items: center; aspect-ratio: 1; background: var(--soft); color: var(--quiet); border-radius: 4px; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--quiet); font: 12px system-ui, sans-serif; } svg .axis { fill: var(--ink); font-size: 12px; }
.grid { stroke: var(--line); stroke-width: .6; } .diagonal { stroke: var(--quiet); stroke-dasharray: 4 4; fill: none; }
svg .value { fill: var(--ink); font-size: 11px; }
.line { fill: none; stroke-width: 2.2; } .line.c1, .line.c5 { stroke-dasharray: 7 3; } .line.c2, .line.c6 { stroke-dasharray: 2 3; }
.line.c3, .line.c7 { stroke-dasharray: 10 3 2 3; }
.line.c0 { stroke: var(--c0); } .line.c1 { stroke: var(--c1); } .line.c2 { stroke: var(--c2); } .line.c3 { stroke: var(--c3); }
.line.c4 { stroke: var(--c4); } .line.c5 { stroke: var(--c5); } .line.c6 { stroke: var(--c6); } .line.c7 { stroke: var(--c7); }
.span { stroke-width: 1.2; } .span.c0 { stroke: var(--c0); } .span.c1 { stroke: var(--c1); }
.mark { fill: none; stroke: var(--ink); stroke-width: 2; } .halo { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; }
.dot.c0, .bar.c0 { fill: var(--c0); } .dot.c1, .bar.c1 { fill: var(--c1); } .dot.c2, .bar.c2 { fill: var(--c2); }
.bar-line { stroke-width: 2.5; fill: none; } .bar-line.c0 { stroke: var(--c0); } .zero { stroke: var(--ink); stroke-width: 1.2; }
.bar-line.better { stroke: var(--better); } .bar-line.worse { stroke: var(--worse); }
.dot.better { fill: var(--better); } .dot.worse { fill: var(--worse); }
.cell { fill: var(--c0); } .map .cell { shape-rendering: crispEdges; } .frame { fill: none; stroke: var(--line); }
.legend li { display: flex; align-items: baseline; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 16px; padding: 0; margin: 4px 0; font-size: .88rem; }
.swatch { flex: none; width: 14px; height: 4px; margin-right: 6px; align-self: center; }
.swatch.c0 { background: var(--c0); } .swatch.c1 { background: var(--c1); } .swatch.c2 { background: var(--c2); }
.swatch.c3 { background: var(--c3); } .swatch.c4 { background: var(--c4); } .swatch.c5 { background: var(--c5); }
.swatch.c6 { background: var(--c6); } .swatch.c7 { background: var(--c7); }
.swatch.better { background: var(--better); } .swatch.worse { background: var(--worse); }
.sample { flex: none; width: 34px; height: 14px; margin-right: 6px; align-self: center; }
.wide { overflow-x: auto; margin: 16px 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; min-width: 320px; }
caption { text-align: left; font-weight: 600; padding: 6px 0; }
caption span { position: sticky; left: 0; display: inline-block; max-width: calc(100vw - 32px); }
th, td { text-align: right; padding: 5px 16px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td { white-space: nowrap; } td.words, th.words { text-align: left; white-space: normal; min-width: 14rem; }
th:first-child { text-align: left; min-width: 8.5rem; } tbody th { font-weight: 500; }
thead th { color: var(--quiet); font-weight: 500; vertical-align: bottom; }
tr.few { color: var(--quiet); }
pre { background: var(--soft); padding: 12px; border-radius: 8px; overflow-x: auto; font-size: .82rem; white-space: pre-wrap; overflow-wrap: anywhere; }
footer { margin-top: 48px; color: var(--quiet); font-size: .88rem; }
@media print { :root { color-scheme: light; } nav { display: none; } details::details-content { content-visibility: visible; block-size: auto; }
  h2, h3, dt, .before { break-after: avoid; } .wide { overflow: visible; break-inside: avoid; }
  main { max-width: none; padding: 0; } section { break-inside: auto; }
  table { font-size: 8.5pt; } .charts { grid-template-columns: 1fr 1fr; } .gallery { grid-template-columns: repeat(3, 1fr); } }
"""
"""Colours are Okabe and Ito's and four more, lightened for dark pages; lines differ in their dashes besides."""
