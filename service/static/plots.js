// Draws the figures that the server put into <script type="application/json" data-plot="..."> blocks.
// The server decides what is drawn; the colours come from the style sheet, so both follow light and dark mode.
"use strict";

(() => {
  const SERIES_LIGHT = ["#0a7561", "#2a5ba8", "#b4571a", "#8b3a8f", "#7a6a00", "#b02a4c", "#3d7a1f", "#5a53b5"];
  const SERIES_DARK = ["#4fc8ae", "#8fb4f2", "#f0a367", "#d99be0", "#d8c75a", "#f28ba5", "#9ad07a", "#b3adf7"];
  const darkMode = window.matchMedia("(prefers-color-scheme: dark)");

  function theme() {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    return {
      ink: color("--ink"), muted: color("--muted"), line: color("--line"), surface: color("--surface"),
      heat: [[0, color("--heat-0")], [0.5, color("--heat-1")], [1, color("--heat-2")]],
      series: darkMode.matches ? SERIES_DARK : SERIES_LIGHT,
      font: getComputedStyle(document.body).fontFamily,
    };
  }

  function paintTrace(trace, index, colors) {
    if (trace.type === "heatmap") {
      return { ...trace, colorscale: colors.heat };
    }
    if (trace.meta === "band") {
      return { ...trace, fillcolor: `${colors.ink}14` };
    }
    const color = trace.meta === "all" ? colors.ink : colors.series[index % colors.series.length];
    const bars = trace.error_y ? { error_y: { ...trace.error_y, color: `${color}73` } } : {};
    return { ...trace, ...bars, line: { ...trace.line, color }, marker: { ...trace.marker, color } };
  }

  function paintAxis(axis, colors) {
    return { gridcolor: colors.line, linecolor: colors.line, zeroline: false, ...axis };
  }

  function draw(holder, figure) {
    const colors = theme();
    const layout = {
      ...figure.layout,
      paper_bgcolor: "transparent",
      plot_bgcolor: "transparent",
      font: { family: colors.font, size: 13, color: colors.muted },
      xaxis: paintAxis(figure.layout.xaxis, colors),
      yaxis: paintAxis(figure.layout.yaxis, colors),
      hoverlabel: { bgcolor: colors.surface, bordercolor: colors.line, font: { family: colors.font, color: colors.ink } },
    };
    const data = figure.data.map((trace, index) => paintTrace(trace, index, colors));
    const options = { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false };
    window.Plotly.react(holder, data, layout, options);
  }

  function drawAll() {
    for (const block of document.querySelectorAll("script[data-plot]")) {
      const holder = document.getElementById(block.dataset.plot);
      if (holder) draw(holder, JSON.parse(block.textContent));
    }
  }

  if (window.Plotly) {
    drawAll();
    darkMode.addEventListener("change", drawAll);
  }
})();
