const preset = new URLSearchParams(location.hash.slice(1));
const special = { inf: Infinity, "-inf": -Infinity, nan: NaN };
const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
const escaped = (text) => text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
// As ReportNumber does.
const real = (value) => {
  if (!Number.isFinite(value)) return value !== value ? "nan" : value < 0 ? "-inf" : "inf";
  if (value === 0) return "0";
  const [mantissa, exponent] = value.toExponential(3).split("e").map(Number);
  return exponent >= -3 && exponent <= 5
    ? value.toFixed(Math.max(0, 3 - exponent)) : `${mantissa.toFixed(3)}e${exponent}`;
};
const integer = (value) => String(value).replace(/\B(?=(\d{3})+$)/g, ",");
const formats = {
  real, integer,
  bytes: (count) => {
    let [value, unit] = [count, 0];
    while (Math.abs(value) >= 1023.5 && unit < 6) [value, unit] = [value / 1024, unit + 1];
    return unit === 0 ? `${count} B` : `${real(value)} ${"KMGTPE"[unit - 1]}iB`;
  },
  share: (value) => value === 0 ? "0%" : value === 1 ? "100%" : value < 0.001 ? "<0.1%"
    : value > 0.999 ? ">99.9%" : `${(value * 100).toFixed(1)}%`,
};
const sparkline = (code) => {
  const heights = [...code].map((letter) => letters.indexOf(letter) / 63);
  const step = 118 / Math.max(1, heights.length - 1);
  const points = heights.map((height, index) =>
    `${(index * step + 1).toFixed(1)},${(26 - height * 24).toFixed(1)}`);
  const line = points.length === 1 ? `${points[0]} 119,${points[0].split(",")[1]}` : points.join(" ");
  return `<svg class="spark" viewBox="0 0 120 28" aria-hidden="true">
<polygon points="1,27 ${line} 119,27"/><polyline points="${line}"/></svg>`;
};
// Rows that are data: element() makes one when it is first shown.
const dataRows = (columns) => {
  const remarks = columns.filter((column) => column.kind === "remark");
  const cells = columns.filter((column) => column.kind !== "remark");
  const text = (column, row) => column.texts?.[column.values[row]] ?? "";
  const number = (column, row) => {
    const value = column.values[row];
    return typeof value === "string" && value in special ? special[value] : value;
  };
  const html = (column, row, extra) => {
    const classes = column.classes ? ` class="${column.classes}"` : "";
    const value = column.values[row];
    if (value === null) return `<td${classes}>${extra}</td>`;
    if (column.kind === "spectrum") return `<td${classes}>${sparkline(value)}</td>`;
    if (column.kind === "text") {
      return `<td${classes}>${escaped(text(column, row)).replaceAll(".", ".<wbr>")}${extra}</td>`;
    }
    const amount = number(column, row);
    let bar = "";
    if (column.scale !== undefined) {
      const share = !Number.isFinite(amount) ? 1
        : column.scale > 0 ? Math.min(1, Math.max(0, Math.log10(amount)) / column.scale) : 0;
      const kind = Number.isFinite(amount) ? "" : ' class="infinite"';
      bar = `<i${kind} style="width:${(share * 100).toFixed(1)}%"></i>`;
    }
    const shown = formats[column.kind](amount);
    return `<td${classes} data-value="${amount}" title="${amount}">${escaped(shown)}${extra}${bar}</td>`;
  };
  return Array.from({ length: cells[0].values.length }, (_, row) => {
    let made = null;
    return {
      name: text(cells[0], row),
      key: (column) => cells[column].kind === "text" ? text(cells[column], row)
        : cells[column].kind === "spectrum" ? "" : number(cells[column], row),
      element: () => {
        if (made) return made;
        made = document.createElement("tr");
        const notes = remarks.map((column) => text(column, row)).filter((note) => note)
          .map((note) => `<small>${escaped(note)}</small>`).join("");
        made.innerHTML = cells.map((column, index) => html(column, row, index ? "" : notes)).join("");
        return made;
      },
    };
  });
};
const writtenRows = (body) => [...body.rows].map((row) => ({
  name: [...row.cells[0].childNodes].filter((node) => node.nodeName !== "SMALL")
    .map((node) => node.textContent).join(""),
  key: (column) => {
    const cell = row.cells[column];
    const value = cell.dataset.value;
    if (value === undefined) return cell.classList.contains("number") ? null : cell.textContent;
    return value in special ? special[value] : Number(value);
  },
  element: () => row,
}));
const compare = (a, b) =>
  typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true })
    : a === b ? 0 : a < b ? -1 : 1;
document.querySelectorAll("table.rows").forEach((table, position) => {
  const section = table.closest("section");
  const body = table.tBodies[0];
  const data = section.querySelector('script[type="application/json"]');
  const original = data ? dataRows(JSON.parse(data.textContent)) : writtenRows(body);
  const pieceLength = data ? 200 : original.length;
  const headings = [...table.tHead.rows[0].cells];
  const filter = section.querySelector(".filter input");
  const shown = section.querySelector(".filter output");
  const more = section.querySelector(".more");
  let order = original;
  let visible = original;
  let count = 0;
  const add = (limit) => {
    const end = Math.min(limit, visible.length);
    body.append(...visible.slice(count, end).map((row, index) => {
      const element = row.element();
      element.setAttribute("aria-rowindex", count + index + 2);
      return element;
    }));
    count = end;
    if (more) more.hidden = count === visible.length;
  };
  const apply = () => {
    const text = filter?.value.trim() ?? "";
    const pattern = text.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*");
    const match = new RegExp(text.includes("*") ? `^${pattern}$` : pattern, "i");
    visible = text === "" ? order : order.filter((row) => match.test(row.name));
    if (shown) shown.value = text === "" ? "" : `${visible.length} of ${original.length}`;
    body.replaceChildren();
    count = 0;
    add(pieceLength);
  };
  filter?.addEventListener("input", apply);
  if (more) {
    const addPiece = () => add(count + pieceLength);
    more.addEventListener("click", addPiece);
    new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) addPiece();
    }, { rootMargin: "1500px" }).observe(more);
    addEventListener("beforeprint", () => add(visible.length));
  }
  headings.forEach((heading, column) => {
    heading.firstElementChild.addEventListener("click", () => {
      const isNumber = heading.classList.contains("number");
      const cycle = isNumber ? ["descending", "ascending"] : ["ascending", "descending"];
      const direction = cycle[cycle.indexOf(heading.getAttribute("aria-sort")) + 1];
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      order = original;
      if (direction) {
        heading.setAttribute("aria-sort", direction);
        const sign = direction === "ascending" ? 1 : -1;
        const keyed = original.map((row) => [row.key(column), row]);
        keyed.sort(([x], [y]) => {
          const [xEmpty, yEmpty] = [x === null || x !== x, y === null || y !== y];
          return xEmpty || yEmpty ? xEmpty - yEmpty : sign * compare(x, y);
        });
        order = keyed.map(([, row]) => row);
      }
      apply();
    });
  });
  if (filter && position === 0 && preset.has("filter")) filter.value = preset.get("filter");
  if (data || filter?.value) apply();
  if (position === 0) {
    const sorted = headings.find((heading) => heading.dataset.key === preset.get("sort"));
    const wanted = preset.get("order") ?? sorted?.getAttribute("aria-sort") ?? null;
    for (let click = 0; sorted && click < 2; click += 1) {
      sorted.firstElementChild.click();
      if (!wanted || sorted.getAttribute("aria-sort") === wanted) break;
    }
  }
});
