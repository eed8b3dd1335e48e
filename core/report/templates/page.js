// The theme button, tables that sort, the filter of the index, and buttons that copy.
{
  const root = document.documentElement;

  function themeButton(button) {
    const themes = ["system", "light", "dark"];
    const show = () => { button.querySelector("span").textContent = root.dataset.theme ?? "system"; };
    button.addEventListener("click", () => {
      const next = themes[(themes.indexOf(root.dataset.theme ?? "system") + 1) % themes.length];
      if (next === "system") delete root.dataset.theme; else root.dataset.theme = next;
      try { localStorage.setItem("encore-theme", next); } catch { /* as above */ }
      show();
      document.dispatchEvent(new Event("theme"));
    });
    show();
  }

  const keyOf = (row, column) => {
    const cell = row.cells[column];
    const text = cell?.dataset.sort ?? cell?.textContent.trim() ?? "";
    return text === "" || Number.isNaN(Number(text)) ? text.toLowerCase() : Number(text);
  };

  function compare(a, b) {
    if (a === "" || b === "") return (a === "") - (b === "");
    return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  }

  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    const sort = (column, descending) => {
      const rows = [...table.tBodies[0].rows].map((row) => [keyOf(row, column), row]);
      rows.sort((a, b) => (a[0] === "" || b[0] === "" ? compare(a[0], b[0]) : compare(a[0], b[0]) * (descending ? -1 : 1)));
      table.tBodies[0].append(...rows.map((pair) => pair[1]));
      heads.forEach((head, place) => {
        if (place === column) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      });
    };
    heads.forEach((head, column) => {
      head.querySelector("button")?.addEventListener("click", () => {
        const before = head.getAttribute("aria-sort");
        sort(column, before ? before === "ascending" : head.dataset.first === "descending");
      });
    });
    const choice = document.querySelector(`select[data-sorts="${table.id}"]`);
    choice?.addEventListener("change", () => {
      const column = Number(choice.value);
      sort(column, heads[column].dataset.first === "descending");
    });
  }

  // The words by which a paper is found: all that the page says of it.
  function wordsOf(slug, parts) {
    const labels = parts.flatMap((part) => [...part.querySelectorAll("[aria-label]")].map((each) => each.getAttribute("aria-label")));
    return [slug, ...parts.map((part) => part.textContent), ...labels].join(" ").toLowerCase();
  }

  function filter(form) {
    const rows = [...document.getElementById(form.dataset.filters).tBodies[0].rows];
    const parts = new Map(rows.map((row) => [row, [...document.querySelectorAll(`[data-paper="${row.dataset.paper}"]`)]]));
    const words = new Map(rows.map((row) => [row, wordsOf(row.dataset.paper, parts.get(row))]));
    const grid = document.querySelector(".grid"), count = form.querySelector("output");
    const dim = (verdict) => {
      if (verdict) grid.dataset.verdict = verdict; else delete grid.dataset.verdict;
      grid.querySelectorAll(".m").forEach((mark) => mark.classList.toggle("chosen", mark.classList.contains(verdict.replace(" ", "-") || "m")));
      grid.querySelectorAll(".group").forEach((group) => { group.hidden = !group.querySelector("li:not([hidden])"); });
    };
    const apply = () => {
      const wanted = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
      const field = form.elements.field.value, verdict = form.elements.verdict.value, state = form.elements.state.value;
      let shown = 0;
      for (const row of rows) {
        const fits = wanted.every((word) => words.get(row).includes(word))
          && (!field || row.dataset.fields.split("|").includes(field))
          && (!verdict || row.dataset.verdicts.split("|").includes(verdict))
          && (!state || row.dataset.state === state);
        parts.get(row).forEach((part) => { part.hidden = !fits; });
        shown += fits;
      }
      dim(verdict);
      count.textContent = shown === rows.length ? `${rows.length} in all` : `${shown} of ${rows.length}`;
    };
    form.addEventListener("input", apply);
    form.addEventListener("reset", () => setTimeout(apply));
    form.addEventListener("submit", (event) => event.preventDefault());
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest("input, select, textarea");
      if (event.key === "/" && !typing) { event.preventDefault(); form.elements.words.focus(); }
    });
    apply();
  }

  // What a mark stands for, beside it while it is pointed at or has the focus; Escape takes it away.
  function explainMarks(tip) {
    const show = (event) => {
      const mark = event.target.closest("a.m");
      tip.hidden = !mark;
      if (!mark) return;
      tip.textContent = mark.getAttribute("aria-label");
      const at = mark.getBoundingClientRect(), width = document.documentElement.clientWidth;
      tip.style.left = `${Math.max(8, Math.min(at.left, width - tip.offsetWidth - 8)) + scrollX}px`;
      tip.style.top = `${at.bottom + scrollY + 6}px`;
    };
    document.addEventListener("pointerover", show);
    document.addEventListener("focusin", show);
    document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
  }

  function copying(button) {
    const text = document.getElementById(button.dataset.copies).textContent;
    button.addEventListener("click", async () => {
      try { await navigator.clipboard.writeText(text); } catch { return; }
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }

  document.querySelectorAll("button.theme").forEach(themeButton);
  document.querySelectorAll(".tip").forEach(explainMarks);
  document.querySelectorAll("table.sortable").forEach(sortable);
  document.querySelectorAll("form[data-filters]").forEach(filter);
  document.querySelectorAll("button[data-copies]").forEach(copying);
}
