// The points of a sweep as parallel coordinates, brushed on any axis, and as a heat map where two keys vary.
{
  const sweep = JSON.parse(document.getElementById("sweep-data").textContent);
  const chart = document.getElementById("sweep-chart"), heat = document.getElementById("sweep-heat");
  const rows = new Map([...document.querySelectorAll("#points tbody tr")].map((row) => [Number(row.dataset.number), row]));
  const known = sweep.values.filter((value) => value !== null);
  let brushed = null, marked = null;

  const goal = { name: drawing.worded(sweep.metric) || "objective", words: null, values: sweep.values, log: false };
  const axes = known.length ? [...sweep.axes, goal] : sweep.axes;

  function scaled(axis) {
    const found = axis.values.filter((value) => value !== null), read = axis.log ? Math.log : Number;
    const low = Math.min(...found.map(read)), high = Math.max(...found.map(read));
    return axis.values.map((value) => (value === null ? null : high > low ? (read(value) - low) / (high - low) : 0.5));
  }
  const places = axes.map(scaled);
  const worded = (axis, value) => (value === null ? "–" : axis.words ? axis.words[value] : drawing.number(value));
  const described = (point) => axes.map((axis) => `${drawing.plain(axis.name)}: ${drawing.plain(worded(axis, axis.values[point]))}`).join("<br>");

  // From blue over grey to ochre: told apart with every common form of colour blindness, and on light and dark.
  const shades = [[0, "#2f5fb3"], [0.5, "#7f8388"], [1, "#c08a00"]];
  function shade(value) {
    if (value === null || !known.length) return drawing.resolved("soft");
    const low = Math.min(...known), high = Math.max(...known), at = high > low ? (value - low) / (high - low) : 0.5;
    const upper = Math.max(1, shades.findIndex(([place]) => place >= at)), [a, from] = shades[upper - 1], [b, to] = shades[upper];
    const part = (at - a) / (b - a), channel = (text, place) => parseInt(text.slice(place, place + 2), 16);
    return `rgb(${[1, 3, 5].map((place) => Math.round(channel(from, place) * (1 - part) + channel(to, place) * part))})`;
  }

  function line(point) {
    const lit = (brushed === null || brushed.has(point)) && (marked === null || marked === point);
    const colour = shade(sweep.values[point]);
    return {
      x: axes.map((_, place) => place), y: axes.map((_, place) => places[place][point]), mode: "lines+markers", connectgaps: true,
      line: { color: colour, width: marked === point ? 4 : 2 }, marker: { size: 8, color: colour }, opacity: lit ? 0.9 : 0.12,
      name: `point ${sweep.numbers[point]}`, text: axes.map(() => described(point)), hovertemplate: "%{text}",
      selected: { marker: { opacity: 1 } }, unselected: { marker: { opacity: lit ? 0.9 : 0.12 } },
    };
  }

  function ticks(axis, place) {
    const found = [...new Set(axis.values.filter((value) => value !== null))].sort((a, b) => a - b);
    const few = found.length <= 7 ? found : [found[0], found[Math.floor(found.length / 2)], found.at(-1)];
    const last = place === axes.length - 1 && place > 0;
    return few.map((value) => ({
      x: place, y: places[place][axis.values.indexOf(value)], text: drawing.plain(worded(axis, value)), showarrow: false,
      xanchor: last ? "right" : "left", xshift: last ? -8 : 8, font: { size: 12, color: drawing.resolved("ink") }, bgcolor: drawing.resolved("veil"),
    }));
  }

  function drawLines() {
    const layout = drawing.layout(), rule = drawing.resolved("soft"), narrow = chart.clientWidth < 160 * axes.length;
    Object.assign(layout, {
      hovermode: "closest", dragmode: "select", selectdirection: "any", margin: { l: 24, r: 24, t: 40, b: 16 },
      shapes: axes.map((_, place) => ({ type: "line", x0: place, x1: place, y0: 0, y1: 1, line: { color: rule, width: 1 }, layer: "below" })),
      annotations: [
        ...axes.flatMap(ticks),
        ...axes.map((axis, place) => ({
          x: place, y: 1, yshift: 24, text: `<b>${drawing.plain(narrow ? axis.name.split(".").at(-1) : axis.name)}</b>`, showarrow: false, font: { size: 13, color: drawing.resolved("ink") },
          xanchor: place === 0 ? "left" : place === axes.length - 1 ? "right" : "center", xshift: place === 0 ? -12 : place === axes.length - 1 ? 12 : 0,
        })),
      ],
    });
    Object.assign(layout.xaxis, { visible: false, range: [-0.04, axes.length - 0.96], fixedrange: true });
    Object.assign(layout.yaxis, { visible: false, range: [-0.06, 1.06], fixedrange: true });
    Plotly.react(chart, sweep.numbers.map((_, point) => line(point)), layout, drawing.config);
  }

  function drawHeat() {
    const [across, up] = sweep.axes.map((axis) => ({ axis, found: [...new Set(axis.values)].filter((value) => value !== null).sort((a, b) => a - b) }));
    const cells = up.found.map((high) => across.found.map((wide) => {
      const point = sweep.numbers.findIndex((_, each) => across.axis.values[each] === wide && up.axis.values[each] === high);
      return point < 0 ? null : sweep.values[point];
    }));
    const layout = drawing.layout();
    for (const [way, key] of [["xaxis", across], ["yaxis", up]]) {
      Object.assign(layout[way], { type: "category", title: { text: drawing.plain(key.axis.name) }, showgrid: false, fixedrange: true });
    }
    Plotly.react(heat, [{
      type: "heatmap", x: across.found.map((value) => drawing.plain(worded(across.axis, value))), y: up.found.map((value) => drawing.plain(worded(up.axis, value))), z: cells,
      colorscale: shades, xgap: 2, ygap: 2, texttemplate: "%{z:.4~g}", hovertemplate: "%{x} · %{y}<br>%{z:.5~g}<extra></extra>",
      colorbar: { title: { text: drawing.plain(goal.name), side: "right" }, thickness: 12, outlinewidth: 0, tickfont: { color: drawing.resolved("soft") } },
    }], layout, drawing.config);
  }

  function brush(points) {
    brushed = points;
    for (const [point, number] of sweep.numbers.entries()) rows.get(number).hidden = points !== null && !points.has(point);
    document.getElementById("sweep-status").textContent = points === null ? `${sweep.numbers.length} points` : `${points.size} of ${sweep.numbers.length} points chosen`;
    document.getElementById("sweep-clear").disabled = points === null;
    drawLines();
  }

  function connect() {
    chart.on("plotly_selected", (event) => { if (event?.points.length) brush(new Set(event.points.map((each) => each.curveNumber))); });
    chart.on("plotly_deselect", () => brush(null));
    document.getElementById("sweep-clear").addEventListener("click", () => { Plotly.relayout(chart, { selections: [] }); brush(null); });
    for (const [point, number] of sweep.numbers.entries()) {
      const mark = (each) => () => { marked = each; drawLines(); };
      for (const name of ["mouseenter", "focusin"]) rows.get(number).addEventListener(name, mark(point));
      for (const name of ["mouseleave", "focusout"]) rows.get(number).addEventListener(name, mark(null));
    }
    drawing.watch(chart, drawLines);
    if (heat) drawing.watch(heat, drawHeat);
  }

  drawing.begin(document.getElementById("sweep-notice"), () => {
    document.getElementById("sweep-panel").hidden = false;
    if (heat) drawHeat();
    brush(null);
    connect();
  });
}
