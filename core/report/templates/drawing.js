// What the charts of all pages share: colours of the theme, text that is only text, zoom by keys, a size for paper.
const drawing = {
  dashes: ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"],
  config: { displayModeBar: false, responsive: true, doubleClick: "reset" },

  resolved(name) { // light-dark() as the browser resolves it: plotly knows plain colours only
    const probe = document.createElement("i");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value;
  },
  faded: (colour, alpha) => `rgba(${colour.match(/[\d.]+/g).slice(0, 3)}, ${alpha})`,
  plain: (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;"),
  worded: (name) => String(name).replaceAll("_", " "),
  number: (value) => (value === null || value === undefined ? "–" : Number(value.toPrecision(5)).toLocaleString("en", { maximumSignificantDigits: 5 }).replaceAll(",", "\u202f").replace("-", "−")),

  layout() {
    const ink = this.resolved("ink"), soft = this.resolved("soft"), rule = this.resolved("rule");
    const axis = { gridcolor: rule, zerolinecolor: rule, linecolor: soft, tickfont: { color: soft }, automargin: true, ticks: "outside", tickcolor: rule, ticklen: 4 };
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, autosize: true,
      font: { family: "system-ui, sans-serif", size: 13, color: ink }, margin: { l: 56, r: 16, t: 12, b: 44 },
      hoverlabel: { bgcolor: this.resolved("raised"), bordercolor: rule, font: { color: ink, size: 13 }, align: "left", namelength: -1 },
      xaxis: structuredClone(axis), yaxis: structuredClone(axis),
    };
  },

  zoom(chart, factor, shift = 0) {
    const change = {};
    for (const name of shift ? ["xaxis"] : ["xaxis", "yaxis"]) {
      const [low, high] = chart._fullLayout[name].range.map(Number);
      const middle = (low + high) / 2 + shift * (high - low), half = ((high - low) / 2) * factor;
      change[`${name}.range`] = [middle - half, middle + half];
    }
    Plotly.relayout(chart, change);
  },
  reset(chart) { Plotly.relayout(chart, { "xaxis.autorange": true, "yaxis.autorange": true }); },
  keys(chart) {
    chart.addEventListener("keydown", (event) => {
      const act = {
        "+": () => this.zoom(chart, 0.7), "=": () => this.zoom(chart, 0.7), "-": () => this.zoom(chart, 1 / 0.7),
        ArrowLeft: () => this.zoom(chart, 1, -0.2), ArrowRight: () => this.zoom(chart, 1, 0.2), 0: () => this.reset(chart),
      }[event.key];
      if (act) { event.preventDefault(); act(); }
    });
  },

  // Draws again when the theme changes and, in light colours at the width of paper, when the page is printed.
  charts: [],
  watch(chart, draw) { this.charts.push([chart, draw]); },
  again() { for (const [, draw] of this.charts) draw(); },
  print() {
    this.before = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    this.again();
    for (const [chart] of this.charts) Plotly.relayout(chart, { width: 660 });
  },
  printed() {
    if (this.before) document.documentElement.dataset.theme = this.before;
    else delete document.documentElement.dataset.theme;
    this.again();
    for (const [chart] of this.charts) Plotly.relayout(chart, { width: null, autosize: true });
  },

  // Runs `start` once the library is there, which is beside the page; says so where it is not.
  begin(notice, start) {
    document.addEventListener("DOMContentLoaded", () => {
      if (!window.Plotly) {
        notice.textContent = "The charts need the file plotly.min.js beside this page. All numbers are in the tables.";
        return;
      }
      notice.remove();
      start();
      performance.mark("drawn");
      document.addEventListener("theme", () => this.again());
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.again());
      addEventListener("beforeprint", () => this.print());
      addEventListener("afterprint", () => this.printed());
    });
  },
};
