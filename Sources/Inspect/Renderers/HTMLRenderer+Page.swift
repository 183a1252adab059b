extension HTMLRenderer {
  /// The page's style sheet.
  static let style = """
    :root {
      color-scheme: light dark;
      --ink: #1d2330; --soft: #5b6475; --paper: #ffffff; --panel: #f4f6f9; --line: #dfe3ea;
      --bar: #3b7dd8; --infinite: #c8403a;
      --series0: #2f6fd0; --series1: #c2571a; --series2: #23855b; --series3: #8a4fc0;
    }
    @media (prefers-color-scheme: dark) {
      :root {
        --ink: #e4e8f0; --soft: #98a2b5; --paper: #14171d; --panel: #1d222b; --line: #303745;
        --bar: #5b9bf0; --infinite: #f0716b;
        --series0: #6aa7ff; --series1: #f0a05a; --series2: #5cc796; --series3: #c39bf0;
      }
    }
    * { box-sizing: border-box; }
    body {
      margin: 0; background: var(--paper); color: var(--ink);
      font: 15px/1.45 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif;
    }
    main { max-width: 76rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
    h1 { font-size: 1.5rem; margin: 0 0 1rem; overflow-wrap: anywhere; }
    h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
    dl {
      display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .5rem;
      margin: 0;
    }
    dl div { background: var(--panel); border-radius: .5rem; padding: .5rem .75rem; }
    dt { color: var(--soft); font-size: .8rem; }
    dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
    .scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; }
    table { border-collapse: collapse; width: 100%; font-size: .87rem; }
    th, td { padding: .35rem .6rem; text-align: left; white-space: nowrap; vertical-align: top; }
    td { border-top: 1px solid var(--line); }
    thead th { background: var(--panel); font-weight: 600; vertical-align: bottom; }
    th button {
      all: unset; cursor: pointer; color: var(--soft); font-size: .8rem; white-space: nowrap;
    }
    th button:hover { color: var(--ink); }
    th button:focus-visible { outline: 2px solid var(--bar); outline-offset: 2px; }
    th[aria-sort="ascending"] button::after { content: " \\2191"; }
    th[aria-sort="descending"] button::after { content: " \\2193"; }
    tbody tr:hover { background: var(--panel); }
    .number { text-align: right; font-variant-numeric: tabular-nums; }
    td:first-child {
      font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
      white-space: normal; overflow-wrap: anywhere; min-width: 16rem;
    }
    th:first-child, td:first-child { position: sticky; left: 0; z-index: 1; }
    td:first-child { background: var(--paper); }
    tbody tr:hover td:first-child { background: var(--panel); }
    td small { display: block; color: var(--soft); font: .8rem/1.4 system-ui, sans-serif; }
    .bar { min-width: 8rem; }
    td.bar i {
      display: block; height: .25rem; min-width: 1px; margin: .15rem 0 0 auto;
      border-radius: .125rem; background: var(--bar);
    }
    td.bar i.infinite { background: var(--infinite); }
    .filter { display: flex; gap: .75rem; align-items: baseline; margin: 0 0 .5rem; }
    .filter input {
      flex: 0 1 24rem; min-width: 0; font: inherit; color: inherit; background: var(--paper);
      border: 1px solid var(--line); border-radius: .4rem; padding: .3rem .6rem;
    }
    .filter output { color: var(--soft); font-size: .85rem; white-space: nowrap; }
    tr[hidden] { display: none; }
    .spark { display: block; width: 7.5rem; height: 1.75rem; }
    .spark polygon { fill: var(--bar); opacity: .18; }
    .spark polyline { fill: none; stroke: var(--bar); stroke-width: 1.5; }
    figure { margin: 0; }
    figcaption, .legend { color: var(--soft); font-size: .85rem; margin: .4rem 0; }
    .legend span { margin-right: 1.25rem; overflow-wrap: anywhere; }
    .legend span::before {
      content: ""; display: inline-block; width: .7rem; height: .7rem; margin-right: .4rem;
      border-radius: 50%; background: var(--series);
    }
    .series0 { --series: var(--series0); } .series1 { --series: var(--series1); }
    .series2 { --series: var(--series2); } .series3 { --series: var(--series3); }
    .plot { display: block; width: 100%; min-width: 40rem; }
    .plot polyline { fill: none; stroke: var(--series); stroke-width: 1; opacity: .55; }
    .plot circle { fill: var(--series); }
    .plot circle:hover { stroke: var(--ink); stroke-width: 2; }
    .plot .grid line { stroke: var(--line); }
    .plot .grid text { fill: var(--soft); font-size: 12px; text-anchor: end; }
    .plot tspan { font-size: 9px; }
    .bars th { font-weight: 400; }
    .bars tr:first-child > * { border-top: 0; }
    .bars th:first-child, .bars td:first-child { position: static; }
    .bars th, .bars td { vertical-align: middle; border-top: 1px solid var(--line); }
    .bars td:nth-child(2) { width: 60%; }
    .bars td:last-child { text-align: right; font-variant-numeric: tabular-nums; }
    .bars i {
      display: block; height: .7rem; min-width: 1px; border-radius: .2rem; background: var(--bar);
    }
    .note { color: var(--soft); }
    @media (max-width: 40rem) {
      main { padding: 1rem .6rem 2rem; }
      dl { grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); }
      th, td { padding: .35rem .45rem; }
      td:first-child { min-width: 9.5rem; }
      .optional { display: none; }
      .bar { min-width: 6rem; }
      .bars td:nth-child(2) { width: 35%; }
      .bars th { white-space: normal; overflow-wrap: anywhere; }
    }
    @media print { .scroll { overflow: visible; border: 0; } }
    """

  /// Sorts a table by the column whose heading was clicked, and back to the report's order by a
  /// third click. Cells without a number stay at the end. The filter matches the first cell, as a
  /// part of it or, with `*`, as a whole. The page's fragment presets the first table's filter and
  /// order.
  static let script = """
    const preset = new URLSearchParams(location.hash.slice(1));
    document.querySelectorAll("table.rows").forEach((table, position) => {
      const body = table.tBodies[0];
      const original = [...body.rows];
      const headings = [...table.tHead.rows[0].cells];
      const parse = { inf: Infinity, "-inf": -Infinity, nan: NaN };
      const key = (row, column) => {
        const cell = row.cells[column];
        const value = cell.dataset.value;
        if (value === undefined) return cell.classList.contains("number") ? null : cell.textContent;
        return value in parse ? parse[value] : Number(value);
      };
      const compare = (a, b) =>
        typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true })
          : a === b ? 0 : a < b ? -1 : 1;
      const filter = table.closest("section").querySelector(".filter input");
      const shown = table.closest("section").querySelector(".filter output");
      const apply = () => {
        const text = filter.value.trim();
        const pattern = text.replace(/[.+?^${}()|[\\]\\\\]/g, "\\\\$&").replaceAll("*", ".*");
        const match = new RegExp(text.includes("*") ? `^${pattern}$` : pattern, "i");
        let count = 0;
        for (const row of original) {
          const name = row.cells[0].firstChild ? row.cells[0].cloneNode(true) : null;
          name?.querySelectorAll("small").forEach((remark) => remark.remove());
          row.hidden = text !== "" && !match.test(name?.textContent ?? "");
          if (!row.hidden) count += 1;
        }
        shown.value = text === "" ? "" : `${count} of ${original.length}`;
      };
      filter?.addEventListener("input", apply);
      headings.forEach((heading, column) => {
        heading.firstElementChild.addEventListener("click", () => {
          const isNumber = heading.classList.contains("number");
          const cycle = isNumber ? ["descending", "ascending"] : ["ascending", "descending"];
          const order = cycle[cycle.indexOf(heading.getAttribute("aria-sort")) + 1];
          headings.forEach((other) => other.removeAttribute("aria-sort"));
          let rows = original;
          if (order) {
            heading.setAttribute("aria-sort", order);
            const sign = order === "ascending" ? 1 : -1;
            rows = [...original].sort((a, b) => {
              const [x, y] = [key(a, column), key(b, column)];
              const [xEmpty, yEmpty] = [x === null || x !== x, y === null || y !== y];
              return xEmpty || yEmpty ? xEmpty - yEmpty : sign * compare(x, y);
            });
          }
          body.append(...rows);
        });
      });
      if (position === 0) {
        if (filter && preset.has("filter")) {
          filter.value = preset.get("filter");
          apply();
        }
        const sorted = headings.find((heading) => heading.dataset.key === preset.get("sort"));
        const order = preset.get("order") ?? sorted?.getAttribute("aria-sort") ?? null;
        for (let click = 0; sorted && click < 2; click += 1) {
          sorted.firstElementChild.click();
          if (!order || sorted.getAttribute("aria-sort") === order) break;
        }
      }
    });
    """
}
