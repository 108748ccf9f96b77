// The viewer's frame: NiiVue's scene, a slice slider, thumbnails and a legend, drawn from what the script hands over.

import { Scene, height, layout } from "./scene.js";
import { onRender, setHeight, setValue } from "./streamlit.js";

const NARROW = 560; // CSS pixels below which the small views lie under the large one
const GREY = 2.55; // grey values in a hundredth of their range
const $ = (id) => document.getElementById(id);
const scene = new Scene($("canvas"));
let args = null;
let started = null;
let pending = Promise.resolve();
let focused = null;
let failed = false;
let turn = 0; // tells a window from an earlier one that was the same

function fitted() {
  const width = document.documentElement.clientWidth;
  const narrow = width < NARROW;
  $("stage").style.height = `${height(args.view, width, narrow)}px`;
  scene.nv.setCustomLayout(layout(args.view, narrow, !scene.slow));
  scene.nv.resizeListener?.();
  setHeight(document.querySelector("main").offsetHeight + 2);
}

/** Take over the page's own font, which the browser has already. */
function lettered() {
  try {
    const page = window.parent;
    const style = document.createElement("style");
    for (const sheet of page.document.styleSheets) {
      const whole = (_, address) => `url("${new URL(address, sheet.href ?? page.location.href)}")`;
      const faces = [...sheet.cssRules].filter((rule) => rule instanceof page.CSSFontFaceRule && /Source Sans/.test(rule.cssText));
      style.textContent += faces.map((rule) => rule.cssText.replace(/url\("?([^")]+)"?\)/g, whole)).join("\n");
    }
    document.head.append(style);
  } catch {
    // A sandbox without the same origin: the system's font will do.
  }
}

function themed(theme) {
  if (!theme) return;
  const style = document.documentElement.style;
  style.setProperty("--text", theme.textColor);
  style.setProperty("--quiet", theme.base === "dark" ? "#a9abb3" : "#5c5e68");
  style.setProperty("--paper", theme.backgroundColor);
  style.setProperty("--accent", theme.primaryColor);
  document.documentElement.style.colorScheme = theme.base === "dark" ? "dark" : "light";
}

function tell() {
  if (!args || !scene.loaded) return;
  const z = scene.slice;
  const [, , depth] = scene.dims;
  $("slice").max = depth;
  $("slice").value = z + 1;
  const parts = [args.areas[z] || "nothing marked", `probability here ${scene.here.toFixed(2)}`];
  $("where").innerHTML = `<b>${z + 1} of ${depth}</b> · ${parts.join(" · ")}`;
  $("slice").setAttribute("aria-valuetext", `slice ${z + 1} of ${depth}, ${parts[0]}`);
  $("canvas").setAttribute("aria-label", `${args.description} Axial slice ${z + 1} of ${depth}, ${parts[0]}.`);
  for (const button of $("strip").children) button.setAttribute("aria-current", String(Number(button.dataset.z) === z));
}

function stripped() {
  $("strip").replaceChildren(
    ...args.thumbnails.map(({ z, picture, alt }) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.z = z;
      button.innerHTML = `<img alt="" src="${picture}">${z + 1}`;
      button.setAttribute("aria-label", alt);
      button.addEventListener("click", () => scene.goToSlice(z));
      return button;
    }),
  );
  $("strip").hidden = !args.thumbnails.length;
}

function explained() {
  $("legend").innerHTML = args.legend
    .map(([colour, text]) => `<span><i ${colour === "ramp" ? 'class="ramp"' : `style="background:${colour}"`}></i>${text}</span>`)
    .join("");
}

/** Return the arguments with addresses below wherever the page is served: a reverse proxy may have put it at a sub-path. */
function placed(next) {
  const top = new URL("../..", location.href).href.replace(/\/$/, ""); // this frame is at component/<name>/ below it
  const whole = (address) => address && top + address;
  const [flair, probability, reference, map, marked] = [next.flair, next.probability, next.reference, next.map, next.marked].map(whole);
  return { ...next, flair, probability, reference, map, marked };
}

async function render(next, theme) {
  if (!started) {
    started = document.createElement("canvas").getContext("webgl2") ? begin() : Promise.reject(new Error("no WebGL 2"));
    started.catch(() => fail("no-webgl"));
  }
  await started;
  args = placed(next);
  themed(theme);
  document.querySelector("main").hidden = false;
  stripped();
  explained();
  fitted();
  const fresh = await scene.load(args);
  await scene.show(args);
  const aim = JSON.stringify([args.case, args.focus]);
  if (fresh || aim !== focused) scene.goTo(args.focus);
  focused = aim;
  fitted();
  tell();
  document.body.dataset.ready = args.token;
}

/** Tell the page a grey window that is not the one it asked for, in hundredths of its range. */
function windowed() {
  if (!args || !scene.loaded) return;
  const [low, high] = scene.window.map((value) => Math.min(Math.max(Math.round(value / GREY), 0), 100));
  const [asked, above] = args.window.map((value) => Math.round(value / GREY));
  if (low !== asked || high !== above) setValue({ window: [low, high], turn: (turn += 1) });
}

async function begin() {
  lettered();
  await scene.start();
  scene.nv.onLocationChange = tell;
}

function fail(reason) {
  if (failed) return; // what fails after the first is of its making
  failed = true;
  document.querySelector("main").hidden = true; // the page shows pictures in its place, and says why
  setHeight(0);
  setValue({ failed: reason });
}

const KEYS = {
  ArrowUp: [0, 0, 1], ArrowDown: [0, 0, -1], PageUp: [0, 0, 5], PageDown: [0, 0, -5],
  ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], // the patient's right is on the left
};
const WITH_SHIFT = { ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0] };

$("canvas").addEventListener("keydown", (event) => {
  const step = (event.shiftKey && WITH_SHIFT[event.key]) || KEYS[event.key];
  if (event.key === "Home") scene.goTo(args.focus);
  else if (step) scene.step(...step);
  else return;
  event.preventDefault();
});
// NiiVue's own keys cut the head open or change what a drag does, unannounced and with no way back.
for (const kind of ["keydown", "keyup"]) $("canvas").addEventListener(kind, (event) => event.stopImmediatePropagation());
$("slice").addEventListener("input", (event) => scene.goToSlice(event.target.value - 1));
$("below").addEventListener("click", () => scene.step(0, 0, -1));
$("above").addEventListener("click", () => scene.step(0, 0, 1));
// A drag with the right button, or a second finger, changes the grey window; the page's own control follows when it ends.
for (const end of ["mouseup", "touchend"]) window.addEventListener(end, () => setTimeout(windowed));
window.addEventListener("resize", () => args && scene.loaded && fitted());
window.scene = scene; // for tests: what is really drawn

onRender((next, theme) => {
  // One after another: a slider that moves faster than a volume loads must not mix two cases.
  pending = pending.then(() => render(next, theme)).catch((error) => {
    console.warn(error);
    if (!document.body.dataset.ready) fail("error");
  });
});
