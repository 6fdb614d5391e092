// Uses the page as a person would and writes down what came of it, for the test to read.
addEventListener("load", async () => {
  const root = document.documentElement.dataset;
  const at = (id) => document.getElementById(id);
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
  const all = (selector) => [...document.querySelectorAll(selector)];
  const key = async (name, target = document.body) => {
    target.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
    await frame();
  };
  const pointer = async (type, target, x, y) => {
    target.dispatchEvent(new PointerEvent(type, { clientX: x, clientY: y, button: 0, bubbles: true }));
    await frame();
  };
  const shown = () => at("shown").textContent;
  const long = () => Number.parseFloat(shown());
  const box = (element) => element.getBoundingClientRect();
  const brush = () => Number.parseFloat(document.querySelector(".brush").style.left);

  const zooms = [shown()];
  await key("+");
  zooms.push(shown());
  await key("0");
  zooms.push(shown());
  root.keyZoom = zooms.join(", then ");

  const axis = box(at("axis"));
  at("axis").dispatchEvent(new WheelEvent("wheel", { deltaY: -120, clientX: axis.right, bubbles: true, cancelable: true }));
  await frame();
  const brushRight = brush() + Number.parseFloat(document.querySelector(".brush").style.width);
  root.wheelZoom = long() < 8.6 && Math.abs(brushRight - 100) < 0.1 ? "nearer around the pointer" : `${shown()} until ${brushRight}`;
  await key("0");

  await pointer("pointerdown", at("axis"), axis.left + axis.width * 0.25, axis.top + 5);
  await pointer("pointermove", at("axis"), axis.left + axis.width * 0.75, axis.top + 5);
  await pointer("pointerup", at("axis"), axis.left + axis.width * 0.75, axis.top + 5);
  root.range = Math.abs(long() - 8.652 / 2) < 0.05 && Math.abs(brush() - 25) < 0.5 ? "the range of the drag" : `${shown()} from ${brush()}`;

  const [before, place] = [shown(), brush()];
  const lane = document.querySelector(".row.gpu .lane");
  await pointer("pointerdown", lane, axis.left + 300, box(lane).top + 4);
  await pointer("pointermove", lane, axis.left + 200, box(lane).top + 4);
  await pointer("pointerup", at("lanes"), axis.left + 200, box(lane).top + 4);
  root.pan = shown() === before && brush() > place + 3 ? "moved, as long as before" : `${shown()} from ${brush()}`;
  await key("0");

  const search = at("text-filter");
  search.value = "shared-3";
  search.dispatchEvent(new Event("input"));
  await frame();
  root.filter = `${all(".row.gpu").length} GPU lanes, ${all(".row.pod").length} pod lanes, ${at("events-count").textContent} events`;
  search.value = "";
  search.dispatchEvent(new Event("input"));

  const names = () => all(".row.node .name").map((name) => name.textContent).join(" ");
  at("node-filter").value = "gpu-1";
  at("node-filter").dispatchEvent(new Event("change"));
  await frame();
  const one = names();
  at("node-filter").value = "";
  at("node-filter").dispatchEvent(new Event("change"));
  await frame();
  root.nodeFilter = `${one}, then ${names() === "gpu-1 gpu-2 cpu-1" ? "all" : names()}`;

  at("fold").click();
  await frame();
  const folded = all(".row.gpu").length;
  at("unfold").click();
  await frame();
  root.fold = `${folded} GPU lanes folded, ${all(".row.gpu").length} unfolded`;

  at("lanes").focus();
  await key("ArrowDown", at("lanes"));
  await key("ArrowDown", at("lanes"));
  const spoken = at("live").textContent.startsWith("gpu-1 · GPU 0: time 0.000 s") && !at("tip").hidden;
  root.walk = spoken ? `${document.querySelector("#tip strong").textContent} spoken` : at("live").textContent;

  await pointer("pointerdown", document.querySelector('.hold[data-pod="pair"]'), axis.left + 300, box(lane).top + 4);
  await pointer("pointerup", at("lanes"), axis.left + 300, box(lane).top + 4);
  root.click = at("details-body").textContent.includes("podpair") ? "details of the bar kept" : at("details-body").textContent;

  const bar = document.querySelector('.hold[data-pod="exclusive-1"]');
  await pointer("pointermove", bar, box(bar).left + 20, box(bar).top + 4);
  const told = at("tip").innerText.replace(/\s+/g, " ").includes("pod exclusive-1");
  const hot = all(".hot").every((element) => element.dataset.pod === "exclusive-1") && all(".hot").length === all('[data-pod="exclusive-1"]').length;
  root.tip = told && hot ? "pod exclusive-1 pointed at, its other bars highlighted" : at("tip").innerText;

  const event = all("#events button")[3];
  event.click();
  await frame();
  const kept = at("details-body").textContent.includes(event.querySelector(".what").textContent);
  root.event = kept && event.classList.contains("current") ? "details kept, list marked" : at("details-body").textContent;

  await key("f");
  const inView = document.querySelector("#lines .failed") && long() < 4;
  root.failure = inView && at("details-body").textContent.includes("step 12") ? "failing step chosen and in view" : shown();

  const schemes = [];
  for (let time = 0; time < 3; time += 1) {
    await key("t");
    schemes.push(document.documentElement.dataset.theme || "as the system");
  }
  root.theme = schemes.join(", then ");
});
