// Draws the points of one group on two chosen axes.  The choice stands in the address behind #, such
// as #group=0&x=flops_g&y=acc1, so it can be kept and sent as a link.
"use strict";
(() => {
  const { axes, groups } = JSON.parse(document.getElementById("data").textContent);
  const form = document.getElementById("choice");
  if (!form) return;
  const plot = document.getElementById("plot");
  const tip = document.getElementById("tip");
  const said = document.getElementById("said");
  const sections = [...document.querySelectorAll("section.group")];
  const menu = (name) => form.elements.namedItem(name);
  const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [1000, 560, 80, 30, 20, 60];
  // Okabe and Ito, whom colour-blind readers can tell apart.
  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#8A6D00"];
  const SVG = "http://www.w3.org/2000/svg";
  const axis = Object.fromEntries(axes.map((each) => [each.metric, each]));

  const element = (kind, attributes, parent, text) => {
    const made = document.createElementNS(SVG, kind);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  };

  const fill = (name, options, wanted) => {
    const field = menu(name);
    field.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
    if (options.some(([value]) => value === wanted)) field.value = wanted;
  };

  const inWords = (group) => {
    const tasks = Object.entries(group.tasks).map(([task, words]) => `${task}: ${words}`);
    return `${group.dataset}, seed ${group.seed}; ${tasks.join("; ")} (${group.points.length})`;
  };

  const ofBackbone = () => groups.map((group, index) => [group, index])
    .filter(([group]) => group.backbone === menu("backbone").value)
    .map(([group, index]) => [String(index), inWords(group)]);

  const first = (names, known) => names.find((name) => known.includes(name));

  const fillAxes = (x, y) => {
    const { measured } = groups[menu("group").value];
    const options = axes.filter((each) => measured.includes(each.metric))
      .map((each) => [each.metric, each.title]);
    fill("x", options, x && measured.includes(x) ? x
      : first(["flops_g", "speedup", "time_ms_per_step", "frechet_mini", "fid"], measured));
    fill("y", options, y && measured.includes(y) ? y : measured[0]);
  };

  // Round numbers that divide the range into 4 to 9 parts.
  const ticks = (low, high) => {
    const raw = (high - low) / 6;
    const size = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((k) => k * size).find((each) => each >= raw);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1) {
      found.push([k * step, (k * step).toFixed(digits)]);
    }
    return found;
  };

  const scale = (points, metric, from, to) => {
    const reach = points.flatMap(({ values }) => {
      const { value, ends } = values[metric];
      return [value, ...(ends ?? [])];
    });
    const [low, high] = [Math.min(...reach), Math.max(...reach)];
    const room = 0.06 * (high - low) || 0.06 * Math.abs(high) || 1;
    const [start, end] = [low - room, high + room];
    const place = (value) => from + ((value - start) / (end - start)) * (to - from);
    return { place, marks: ticks(start, end) };
  };

  const title = (metric) => `${axis[metric].title} (${axis[metric].higher ? "more" : "less"} is better)`;

  const drawAxes = (across, up, x, y) => {
    across.marks.forEach(([value, text]) => {
      const at = across.place(value);
      element("line", { x1: at, x2: at, y1: TOP, y2: HEIGHT - BOTTOM, class: "rule" }, plot);
      element("text", { x: at, y: HEIGHT - BOTTOM + 18, "text-anchor": "middle", class: "soft" }, plot, text);
    });
    up.marks.forEach(([value, text]) => {
      const at = up.place(value);
      element("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: at, y2: at, class: "rule" }, plot);
      element("text", { x: LEFT - 8, y: at + 4, "text-anchor": "end", class: "soft" }, plot, text);
    });
    const middle = (TOP + HEIGHT - BOTTOM) / 2;
    element("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 14, "text-anchor": "middle" }, plot, title(x));
    element("text", { x: 18, y: middle, "text-anchor": "middle", transform: `rotate(-90 18 ${middle})` }, plot, title(y));
  };

  const drawFront = (points, across, up, x, y) => {
    const steps = points.map(({ values }) => [across.place(values[x].value), up.place(values[y].value)]);
    const path = steps.map(([a, b], k) => (k ? `H${a}V${b}` : `M${a} ${b}`)).join("");
    if (steps.length > 1) element("path", { d: path, class: "front" }, plot);
  };

  const row = (table, head, text) => {
    const line = table.insertRow();
    const cell = document.createElement("th");
    cell.textContent = head;
    line.append(cell);
    line.insertCell().textContent = text;
  };

  const show = (group, point, node, x, y) => {
    const head = document.createElement("strong");
    head.textContent = point.label;
    const table = document.createElement("table");
    [x, y, ...group.measured.filter((name) => name !== x && name !== y)]
      .filter((name) => point.values[name])
      .forEach((name) => {
        const { text, n } = point.values[name];
        row(table, axis[name].title, n > 1 ? `${text}, n=${n}` : text);
      });
    if (point.settings) row(table, "settings", point.settings);
    Object.entries(point.runs).forEach(([task, id]) => row(table, `run, ${task}`, id));
    tip.replaceChildren(head, table);
    [tip.style.left, tip.style.top] = ["0", "0"];
    tip.hidden = false;
    const box = node.getBoundingClientRect();
    const right = box.right + 12 + tip.offsetWidth;
    const left = right > window.innerWidth ? box.left - 12 - tip.offsetWidth : box.right + 12;
    tip.style.left = `${Math.max(4, left) + window.scrollX}px`;
    const top = Math.max(4, Math.min(box.top, window.innerHeight - tip.offsetHeight - 4));
    tip.style.top = `${top + window.scrollY}px`;
  };

  const drawPoint = (group, point, look, across, up, x, y) => {
    const [a, b] = [point.values[x], point.values[y]];
    const [cx, cy] = [across.place(a.value), up.place(b.value)];
    const kind = `point${look.front ? "" : " dominated"}`;
    const node = element("g", { class: kind, tabindex: 0, role: "img", "aria-label": `${point.label}: ${a.text}; ${b.text}` }, plot);
    const colour = look.front ? look.colour : "#8c959f";
    const bar = { stroke: colour, "stroke-width": 1.5 };
    if (a.ends) element("line", { x1: across.place(a.ends[0]), x2: across.place(a.ends[1]), y1: cy, y2: cy, ...bar }, node);
    if (b.ends) element("line", { x1: cx, x2: cx, y1: up.place(b.ends[0]), y2: up.place(b.ends[1]), ...bar }, node);
    element("circle", { cx, cy, r: 6, fill: colour }, node);
    if (look.front || point.operator === "none") {
      const side = cx > WIDTH - 260 ? { x: cx - 10, "text-anchor": "end" } : { x: cx + 10 };
      element("text", { ...side, y: cy - 8 }, node, point.label);
    }
    const circle = node.querySelector("circle");
    ["mouseenter", "focus"].forEach((kind_) => node.addEventListener(kind_, () => show(group, point, circle, x, y)));
    ["mouseleave", "blur"].forEach((kind_) => node.addEventListener(kind_, () => { tip.hidden = true; }));
  };

  const draw = () => {
    const [index, x, y] = ["group", "x", "y"].map((name) => menu(name).value);
    const group = groups[index];
    sections.forEach((section, place) => { section.hidden = String(place) !== index; });
    plot.replaceChildren();
    tip.hidden = true;
    const both = group.points.filter(({ values }) => values[x] && values[y]);
    const best = new Set((group.fronts[`${x} ${y}`] ?? []).map((place) => group.points[place]));
    const hasPair = x !== y && both.length > 0;
    const lacking = group.points.length - both.length;
    said.textContent = !hasPair ? "No point has both, or both axes are the same."
      : `${best.size} of ${both.length} points are not dominated`
        + `${lacking ? `; ${lacking} others lack one of the two` : ""}.`;
    plot.toggleAttribute("hidden", !hasPair);
    if (!hasPair) return;
    const across = scale(both, x, LEFT, WIDTH - RIGHT);
    const up = scale(both, y, HEIGHT - BOTTOM, TOP);
    drawAxes(across, up, x, y);
    drawFront(group.fronts[`${x} ${y}`].map((place) => group.points[place]), across, up, x, y);
    const names = [...new Set(group.points.map(({ operator }) => operator))];
    // Dominated ones first, so that the others lie on top.
    [...both].sort((p, q) => best.has(p) - best.has(q)).forEach((point) => {
      const colour = point.operator === "none" ? "var(--ink)" : COLOURS[names.indexOf(point.operator) % COLOURS.length];
      drawPoint(group, point, { front: best.has(point), colour }, across, up, x, y);
    });
    [...sections[index].querySelectorAll("tbody tr")].forEach((line, place) => {
      const point = group.points[place];
      line.classList.toggle("dominated", both.includes(point) && !best.has(point));
    });
  };

  const remember = () => {
    const chosen = new URLSearchParams(["group", "x", "y"].map((name) => [name, menu(name).value]));
    history.replaceState(null, "", `#${chosen}`);
  };

  const recall = () => {
    const chosen = new URLSearchParams(location.hash.slice(1));
    const wanted = groups[chosen.get("group")] ? chosen.get("group") : "0";
    const names = [...new Set(groups.map(({ backbone }) => backbone))];
    fill("backbone", names.map((name) => [name, name]), groups[wanted].backbone);
    fill("group", ofBackbone(), wanted);
    fillAxes(chosen.get("x"), chosen.get("y"));
    draw();
  };

  form.addEventListener("input", (event) => {
    const axesNow = [menu("x").value, menu("y").value];
    if (event.target.name === "backbone") fill("group", ofBackbone());
    if (["backbone", "group"].includes(event.target.name)) fillAxes(...axesNow);
    draw();
    remember();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", recall);
  form.hidden = false;
  recall();
})();
