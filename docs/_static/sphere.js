/* Points on the sphere that the reader turns, and a slider through cases computed beforehand.

   <div class="sphere" data-kind="arrangements|fits"> holds the cases as JSON. A case has
   `proxies`, and may have `points` with `classes`, `edges` between proxies and `numbers`. */
"use strict";

const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C6D1F",
                 "#56B4E9", "#7F3C8D", "#E68310", "#4B4B8F", "#A5AA99"];
const RADIUS = 0.42;  // of the canvas' side
const CIRCLE = Array.from({length: 73}, (_, i) => (i * Math.PI) / 36);
const GLOBE = [-60, -30, 0, 30, 60].map((latitude) => {
  const z = Math.sin((latitude * Math.PI) / 180), r = Math.sqrt(1 - z * z);
  return CIRCLE.map((t) => [r * Math.cos(t), r * Math.sin(t), z]);
}).concat([0, 30, 60, 90, 120, 150].map((longitude) => {
  const l = (longitude * Math.PI) / 180;
  return CIRCLE.map((t) => [Math.cos(t) * Math.cos(l), Math.cos(t) * Math.sin(l), Math.sin(t)]);
}));

function element(name, properties = {}, children = []) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function multiply(a, b) {
  return a.map((row) => b[0].map((_, j) => row.reduce((sum, v, k) => sum + v * b[k][j], 0)));
}

function turned(rotation, dx, dy) {
  const [cx, sx, cy, sy] = [Math.cos(dx), Math.sin(dx), Math.cos(dy), Math.sin(dy)];
  const aboutUp = [[cx, 0, sx], [0, 1, 0], [-sx, 0, cx]];
  const aboutRight = [[1, 0, 0], [0, cy, -sy], [0, sy, cy]];
  return multiply(multiply(aboutRight, aboutUp), rotation);
}

/* A canvas with a view of its own; draw(scene) shows a case from there. */
class Globe {
  constructor() {
    this.canvas = element("canvas", {tabIndex: 0});
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", "Points on the sphere; drag or use the arrow keys");
    // x to the right, z up, seen a little from above
    this.rotation = turned([[1, 0, 0], [0, 0, 1], [0, -1, 0]], -0.6, 0.35);
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.last = [event.clientX, event.clientY];
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!this.last) return;
      this.turn((event.clientX - this.last[0]) / 150, (event.clientY - this.last[1]) / 150);
      this.last = [event.clientX, event.clientY];
    });
    for (const end of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(end, () => { this.last = null; });
    }
    this.canvas.addEventListener("keydown", (event) => {
      const step = {ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0],
                    ArrowUp: [0, -0.15], ArrowDown: [0, 0.15]}[event.key];
      if (!step) return;
      event.preventDefault();
      this.turn(...step);
    });
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    new MutationObserver(() => this.draw()).observe(
      document.documentElement, {attributes: true, attributeFilter: ["data-theme"]});
  }

  turn(dx, dy) {
    this.rotation = turned(this.rotation, dx, dy);
    this.draw();
  }

  draw(scene = this.scene) {
    this.scene = scene;
    const side = this.canvas.clientWidth, scale = window.devicePixelRatio || 1;
    if (!scene || !side) return;
    this.canvas.width = this.canvas.height = side * scale;
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    const ink = getComputedStyle(this.canvas).color;
    const seen = (p) => this.rotation.map((row) => row[0] * p[0] + row[1] * p[1] + row[2] * p[2]);
    const at = (p) => [side / 2 + RADIUS * side * p[0], side / 2 - RADIUS * side * p[1]];
    const line = (points, alpha, width) => {
      pen.beginPath();
      points.forEach((p, i) => (i ? pen.lineTo(...at(p)) : pen.moveTo(...at(p))));
      Object.assign(pen, {globalAlpha: alpha, lineWidth: width, strokeStyle: ink});
      pen.stroke();
    };
    const dot = (p, size, colour, alpha) => {
      pen.beginPath();
      pen.arc(...at(p), size * (1 + 0.2 * p[2]), 0, 2 * Math.PI);
      Object.assign(pen, {globalAlpha: alpha, fillStyle: colour});
      pen.fill();
    };
    GLOBE.forEach((circle) => line(circle.map(seen), 0.13, 1));
    const proxies = scene.proxies.map(seen);
    (scene.edges || []).forEach(([i, j]) => {
      line([proxies[i], proxies[j]], proxies[i][2] + proxies[j][2] > 0 ? 0.75 : 0.25, 1.3);
    });
    const far = (a, b) => a.p[2] - b.p[2];
    (scene.points || []).map((p, i) => ({p: seen(p), colour: COLOURS[scene.classes[i] % 10]}))
      .sort(far)
      .forEach(({p, colour}) => dot(p, 3, colour, p[2] > 0 ? 0.8 : 0.22));
    proxies.map((p, i) => ({p, i})).sort(far).forEach(({p, i}) => {
      const colour = scene.points ? ink : COLOURS[0], alpha = p[2] > 0 ? 1 : 0.35;
      dot(p, 6, colour, alpha);
      if (!scene.points) return;
      Object.assign(pen, {fillStyle: ink, font: "bold 15px sans-serif", textAlign: "center",
                          textBaseline: "middle", globalAlpha: alpha});
      pen.fillText(String(i), ...at(p.map((v) => 1.13 * v)));
    });
    pen.globalAlpha = 1;
  }
}

function numbersTable(numbers) {
  const rows = Object.entries(numbers).map(([name, value]) => element("tr", {}, [
    element("th", {textContent: name, scope: "row"}), element("td", {textContent: value})]));
  return element("table", {className: "sphere-numbers"}, [element("tbody", {}, rows)]);
}

/* Studies, each a list of cases: buttons between studies, a slider through the cases. */
function widget(root) {
  const data = JSON.parse(root.querySelector("script").textContent);
  const studies = root.dataset.kind === "fits"
    ? data.map((study) => ({title: study.title, cases: study.fits.map((fit) => (
        {...fit, label: `${study.parameter} = ${fit.value}`}))}))
    : [{title: "", cases: data.map((shape) => (
        {...shape, label: `${shape.proxies.length} classes: ${shape.name}`}))}];
  const globe = new Globe(), label = element("output");
  const slider = element("input", {type: "range", min: 0, step: 1});
  slider.setAttribute("aria-label", "Case");
  const numbers = element("div"), buttons = element("div", {className: "sphere-studies"});
  let current = studies[0];
  const show = () => {
    const scene = current.cases[slider.value];
    label.textContent = scene.label;
    numbers.replaceChildren(numbersTable(scene.numbers));
    globe.draw(scene);
  };
  const choose = (study) => {
    current = study;
    slider.max = study.cases.length - 1;
    slider.value = Math.floor((study.cases.length - 1) / 2);
    [...buttons.children].forEach((b) => b.setAttribute(
      "aria-pressed", b.textContent === study.title));
    show();
  };
  if (studies.length > 1) {
    buttons.append(...studies.map((study) => element("button", {
      type: "button", textContent: study.title, onclick: () => choose(study)})));
  }
  slider.addEventListener("input", show);
  root.append(buttons, element("div", {className: "sphere-controls"}, [slider, label]),
              element("div", {className: "sphere-view"}, [globe.canvas, numbers]));
  choose(studies[0]);
}

document.querySelectorAll("div.sphere").forEach(widget);
