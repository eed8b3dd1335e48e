// The curves of a paper: which source, quantity and conditions, which arms, with bands or without.
{
  const sources = JSON.parse(document.getElementById("curves-data").textContent);
  const part = (name) => document.getElementById(`curves-${name}`);
  const chart = part("chart"), hidden = new Set(), logs = { x: false, y: false };
  let source = sources[0], view = source.views[0], bands = true, chosen = {};

  // An arm keeps its colour and its dashes in all charts of a study.
  let place = new Map();
  const colourOf = (arm) => drawing.resolved(`line-${place.get(arm) % 8}`);
  const dashOf = (arm) => drawing.dashes[place.get(arm) % drawing.dashes.length];
  const values = (name, lines = view.lines) => [...new Set(lines.filter((line) => name in line.at).map((line) => line.at[name]))]
    .sort((a, b) => (typeof a === "number" && typeof b === "number" ? b - a : String(a).localeCompare(String(b))));
  const names = () => [...new Set(view.lines.flatMap((line) => Object.keys(line.at)))].filter((name) => values(name).length > 1);
  const armsOf = (lines) => source.arms.filter((arm) => lines.some((line) => line.arm === arm));

  // An arm that exists under one value only, such as the dense network, is shown beside every choice.
  function fits(line) {
    return Object.entries(chosen).every(([name, value]) => {
      if (value === "all" || !(name in line.at) || String(line.at[name]) === value) return true;
      return values(name, view.lines.filter((other) => other.arm === line.arm)).length === 1;
    });
  }
  const fitting = () => view.lines.filter(fits);
  // The conditions under which alone such an arm exists, where they are not those that are chosen.
  const elsewhere = (arm) => Object.entries(chosen).flatMap(([name, value]) => {
    const own = values(name, view.lines.filter((line) => line.arm === arm));
    return value !== "all" && own.length === 1 && String(own[0]) !== value ? [`${drawing.worded(name)} ${own[0]}`] : [];
  });
  const shown = () => fitting().filter((line) => !hidden.has(line.arm));
  const label = (line) => [drawing.worded(line.arm), ...names().filter((name) => name in line.at)
    .map((name) => `${drawing.worded(name)} ${line.at[name]}`)].join(", ");

  function option(select, text, value) {
    const made = document.createElement("option");
    made.textContent = text;
    made.value = value;
    select.append(made);
    return made;
  }

  function listSources() {
    sources.forEach((each, place) => option(part("source"), each.name, place));
    part("source").closest("label").hidden = sources.length < 2;
  }

  function listViews() {
    part("view").replaceChildren();
    for (const study of new Set(source.views.map((each) => each.study))) {
      const group = document.createElement("optgroup");
      group.label = study;
      source.views.forEach((each, place) => {
        if (each.study === study) option(group, `${drawing.worded(each.metric)} by ${drawing.worded(each.x)}`, place);
      });
      part("view").append(group);
    }
    part("note").textContent = `${source.note}.`;
  }

  function listConditions() {
    part("conditions").replaceChildren();
    chosen = {};
    for (const name of names()) {
      const holder = document.createElement("label"), select = document.createElement("select");
      holder.append(`${drawing.worded(name)} `, select);
      for (const value of values(name)) option(select, value, value);
      option(select, "all", "all");
      const arms = (value) => armsOf(view.lines.filter((line) => line.at[name] === value)).length;
      const fullest = values(name).reduce((best, value) => (arms(value) > arms(best) ? value : best));
      select.value = chosen[name] = String(fullest);
      select.addEventListener("change", () => { chosen[name] = select.value; listArms(); draw(); });
      part("conditions").append(holder);
    }
  }

  function listArms() {
    part("arms").replaceChildren();
    for (const arm of armsOf(fitting())) {
      const button = document.createElement("button"), swatch = document.createElement("i");
      button.type = "button";
      button.className = "arm";
      button.dataset.arm = arm;
      swatch.style.borderTopColor = `var(--line-${place.get(arm) % 8})`;
      swatch.style.borderTopStyle = { solid: "solid", dot: "dotted" }[dashOf(arm)] ?? "dashed";
      const only = elsewhere(arm);
      button.append(swatch, drawing.worded(arm) + (only.length ? ` (at ${only.join(", ")})` : ""));
      button.setAttribute("aria-pressed", String(!hidden.has(arm)));
      button.addEventListener("click", () => {
        if (hidden.has(arm)) hidden.delete(arm); else hidden.add(arm);
        button.setAttribute("aria-pressed", String(!hidden.has(arm)));
        draw();
      });
      part("arms").append(button);
    }
  }

  function band(line, x, colour) {
    const known = x.map((at, place) => [at, line.low[place], line.high[place]]).filter((point) => point[1] !== null);
    return {
      x: [...known.map((point) => point[0]), ...known.map((point) => point[0]).reverse()],
      y: [...known.map((point) => point[1]), ...known.map((point) => point[2]).reverse()],
      fill: "toself", fillcolor: drawing.faded(colour, 0.16), line: { width: 0 }, mode: "lines", hoverinfo: "skip",
    };
  }

  function traces() {
    const drawn = shown(), below = [], above = [];
    for (const line of drawn) {
      const x = view.xs[line.x], colour = colourOf(line.arm);
      if (bands && line.low) below.push(band(line, x, colour));
      above.push({
        x, y: line.y, name: drawing.plain(label(line)), mode: x.length > 60 ? "lines" : "lines+markers",
        line: { color: colour, width: 2, dash: dashOf(line.arm) }, marker: { size: 5, color: colour },
        customdata: x.map((_, place) => [drawing.number(line.low?.[place] ?? line.y[place]), drawing.number(line.high?.[place] ?? line.y[place])]),
        hovertemplate: line.low ? "%{y:.5~g} (%{customdata[0]} to %{customdata[1]})" : "%{y:.5~g}",
      });
    }
    return [...below, ...above];
  }

  // Up to eight of the values that a condition really has, for the ticks.
  function places() {
    const found = [...new Set(view.xs.flat())].sort((a, b) => a - b), apart = Math.ceil(found.length / 8);
    return found.filter((_, number) => number % apart === 0);
  }

  function draw() {
    const layout = drawing.layout(), drawn = shown();
    layout.hovermode = drawn.length > 8 ? "closest" : "x unified";
    layout.xaxis.title = { text: drawing.plain(drawing.worded(view.x)) };
    layout.yaxis.title = { text: drawing.plain(drawing.worded(view.metric)) };
    for (const way of ["x", "y"]) layout[`${way}axis`].type = logs[way] ? "log" : "linear";
    if (view.x !== "step") layout.xaxis.tickvals = places();
    Plotly.react(chart, traces(), layout, drawing.config);
    const arms = armsOf(drawn).map(drawing.worded).join(", ") || "no arm";
    chart.setAttribute("aria-label", `Chart of ${drawing.worded(view.metric)} against ${drawing.worded(view.x)} in study ${view.study}: ${arms}. Its last values are in the table below it.`);
    const others = armsOf(drawn).filter((arm) => elsewhere(arm).length).map((arm) => `${drawing.worded(arm)} exists at ${elsewhere(arm).join(", ")} alone`);
    part("status").textContent = [`${drawn.length} of ${view.lines.length} lines shown`, ...others].join("; ");
    table(drawn);
  }

  function table(lines) {
    const rows = lines.map((line) => {
      const last = line.y.findLastIndex((value) => value !== null), at = view.xs[line.x][last];
      const ends = line.low ? `${drawing.number(line.low[last])} to ${drawing.number(line.high[last])}` : "";
      const row = document.createElement("tr");
      [label(line), drawing.number(at), drawing.number(line.y[last]), ends, line.n].forEach((text, place) => {
        const cell = document.createElement(place ? "td" : "th");
        if (!place) cell.scope = "row";
        cell.textContent = text;
        row.append(cell);
      });
      return row;
    });
    part("values").tBodies[0].replaceChildren(...rows);
    part("values-x").textContent = `last ${drawing.worded(view.x)}`;
  }

  function spread(found) {
    const known = found.filter((value) => value !== null);
    return known.length > 0 && Math.min(...known) > 0 ? Math.max(...known) / Math.min(...known) : 0;
  }

  function choose(next) {
    view = next;
    const lines = source.views.filter((each) => each.study === view.study).flatMap((each) => each.lines);
    place = new Map(armsOf(lines).map((arm, number) => [arm, number]));
    const possible = { x: spread(view.xs.map((xs) => Math.min(...xs)).concat(view.xs.map((xs) => Math.max(...xs)))),
      y: spread(view.lines.flatMap((line) => [...line.y, ...(line.low ?? [])])) };
    logs.x = view.x !== "step" && possible.x >= 20;
    logs.y = possible.y >= 100;
    for (const way of ["x", "y"]) {
      part(`log-${way}`).disabled = !possible[way];
      part(`log-${way}`).setAttribute("aria-pressed", String(logs[way]));
    }
    listConditions();
    listArms();
    draw();
  }

  function connect() {
    part("source").addEventListener("change", (event) => {
      source = sources[event.target.value];
      listViews();
      choose(source.views[0]);
    });
    part("view").addEventListener("change", (event) => choose(source.views[event.target.value]));
    for (const way of ["x", "y"]) {
      part(`log-${way}`).addEventListener("click", (event) => {
        logs[way] = !logs[way];
        event.currentTarget.setAttribute("aria-pressed", String(logs[way]));
        draw();
      });
    }
    part("bands").addEventListener("click", (event) => {
      bands = !bands;
      event.currentTarget.setAttribute("aria-pressed", String(bands));
      draw();
    });
    part("in").addEventListener("click", () => drawing.zoom(chart, 0.7));
    part("out").addEventListener("click", () => drawing.zoom(chart, 1 / 0.7));
    part("reset").addEventListener("click", () => drawing.reset(chart));
    drawing.keys(chart);
    drawing.watch(chart, draw);
  }

  drawing.begin(part("notice"), () => {
    part("panel").hidden = false;
    listSources();
    listViews();
    connect();
    choose(view);
  });
}
