// NiiVue's scene of a case: FLAIR, what is marked, the reference, a map; pure functions first.

// Wong 2011, doi:10.1038/nmeth.1618: told apart by every kind of colour vision.
export const COLOURS = { found: [255, 176, 0], reference: [86, 180, 233], both: [204, 121, 167] };
const ONE = 65535; // what stands for a probability of 1
const FOUND = 1;
const REFERENCE = 2; // a voxel in both is FOUND | REFERENCE

/** Return which voxels are marked: bit 1 where the probability reaches the threshold, bit 2 in the reference. */
export function marks(probability, threshold, reference, into) {
  const least = Math.round(threshold * ONE);
  for (let i = 0; i < probability.length; i++) {
    into[i] = (probability[i] >= least ? FOUND : 0) | (reference && reference[i] ? REFERENCE : 0);
  }
  return into;
}

/** Return where the views lie on the canvas, as parts of its width and height: axial large, the others beside or below it. */
export function layout(view, narrow, solid) {
  const only = { axial: 0, coronal: 1, sagittal: 2, solid: 4 }[view];
  if (only !== undefined) return [{ sliceType: only, position: [0, 0, 1, 1] }];
  const others = solid ? [1, 2, 4] : [1, 2];
  const share = 1 / others.length;
  if (narrow) {
    return [
      { sliceType: 0, position: [0, 0, 1, 0.72] },
      ...others.map((sliceType, i) => ({ sliceType, position: [i * share, 0.72, share, 0.28] })),
    ];
  }
  return [
    { sliceType: 0, position: [0, 0, 0.62, 1] },
    ...others.map((sliceType, i) => ({ sliceType, position: [0.62, i * share, 0.38, share] })),
  ];
}

/** Return the canvas's height for its width. */
export function height(view, width, narrow) {
  if (narrow) return Math.round(view === "all" ? width * 1.36 : width * 1.05);
  return Math.round(Math.min(view === "all" ? width * 0.62 : width * 0.7, 660));
}

/** Return what is white where *low* is black: never the same. */
function above(low, high) {
  return Math.max(high, low + 1e-6);
}

async function unpacked(address) {
  const { body } = await fetch(address);
  return new Uint8Array(await new Response(body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
}

function ramp(stops) {
  const [r, g, b] = [0, 1, 2].map((channel) => stops.map((stop) => stop[channel]));
  return { R: r, G: g, B: b, A: stops.map((_, i) => (i ? 230 : 0)), I: stops.map((_, i) => Math.round((255 * i) / (stops.length - 1))) };
}

// Cividis (Nunez 2018, doi:10.1371/journal.pone.0199239) reads alike with every kind of colour vision.
const CIVIDIS = ramp([[0, 34, 78], [53, 69, 108], [87, 93, 109], [124, 123, 120], [165, 156, 116], [209, 193, 96], [254, 232, 56]]);

function pens() {
  const at = [[0, 0, 0], COLOURS.found, COLOURS.reference, COLOURS.both];
  return { R: at.map((c) => c[0]), G: at.map((c) => c[1]), B: at.map((c) => c[2]), A: [0, 255, 255, 255], I: [0, 1, 2, 3], labels: ["", "found", "reference", "both"] };
}

/** Have outlines drawn wider than NiiVue's single pixel of the screen, which is hard to see on white; without effect if its shader changes. */
function thickenRims(canvas) {
  const gl = canvas.getContext("webgl2", { alpha: true, antialias: false });
  const hand = gl.shaderSource.bind(gl);
  const wide = (1.6 * window.devicePixelRatio).toFixed(1);
  gl.shaderSource = (shader, source) => hand(shader, source.replace(/vec3 offset([XY]) = (dFd[xy]\(texPos\));/g, `vec3 offset$1 = ${wide} * $2;`));
}

/** Whether the browser draws without a graphics card, which takes seconds for each view of a solid head. */
function drawnBySoftware(gl) {
  const names = gl.getExtension("WEBGL_debug_renderer_info");
  const name = gl.getParameter(names ? names.UNMASKED_RENDERER_WEBGL : gl.RENDERER);
  return /swiftshader|llvmpipe|software|basic render/i.test(name);
}

/** The scene on one canvas. */
export class Scene {
  constructor(canvas) {
    this.canvas = canvas;
    this.loaded = "";
    this.probability = null;
    this.reference = null;
  }

  async start() {
    const { Niivue, DRAG_MODE } = window.niivue;
    this.nv = new Niivue({
      logLevel: "error",
      isRadiologicalConvention: true,
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.55, 0.75, 0.85, 0.55],
      crosshairWidth: 0.25,
      crosshairWidthUnit: "percent",
      crosshairGap: 6,
      show3Dcrosshair: true,
      fontColor: [0.8, 0.8, 0.82, 1],
      fontMinPx: 12,
      dragMode: DRAG_MODE.windowing,
      dragAndDropEnabled: false,
      isColorbar: false,
      tileMargin: 2,
      yoke3Dto2DZoom: true,
      loadingText: "",
      trustCalMinMax: true,
      multiplanarPadPixels: 4,
    });
    thickenRims(this.canvas);
    await this.nv.attachToCanvas(this.canvas);
    this.nv.addColormap("map", CIVIDIS);
    this.slow = drawnBySoftware(this.nv.gl);
    this.nv.scene.volScaleMultiplier = 1.3; // a head fills its view
  }

  /** Fetch a case's volumes; nothing is fetched again while their addresses stay. */
  async load({ flair, probability, reference, map }) {
    const key = JSON.stringify([flair, probability, reference]);
    if (key === this.loaded && (!map || map === this.mapped)) return false;
    const fresh = key !== this.loaded;
    const layers = [{ url: flair, name: "flair.nii.gz", colormap: "gray" }, { url: probability, name: "probability.nii.gz", colormap: "map", opacity: 0 }];
    if (reference) layers.push({ url: reference, name: "reference.nii.gz", opacity: 0 });
    if (map) layers.push({ url: map, name: "map.nii.gz", colormap: "map", opacity: 0 });
    this.nv.closeDrawing();
    await this.nv.loadVolumes(layers);
    this.probability = this.nv.volumes[1].img;
    this.reference = reference ? this.nv.volumes[2].img : null;
    this.map = map ? this.nv.volumes[reference ? 3 : 2] : null;
    this.nv.createEmptyDrawing();
    this.nv.setDrawColormap(pens());
    this.loaded = key;
    this.mapped = map;
    return fresh;
  }

  get dims() {
    return this.nv.volumes[0].dims.slice(1, 4);
  }

  /** Show what is marked, at this threshold or as the packed mask has it: outlined, filled, or as one of the maps. */
  async show({ threshold, marked, mark, opacity, view, oriented, window: [low, high] }) {
    const { nv } = this;
    nv.opts.isOrientationTextVisible = oriented;
    const back = nv.volumes[0];
    const looks = JSON.stringify([this.loaded, this.mapped, mark, opacity, view, oriented]);
    const same = looks === this.looks && back.cal_min === low && back.cal_max === above(low, high);
    this.looks = looks;
    back.cal_min = low;
    back.cal_max = above(low, high);
    const drawn = mark === "outline" || mark === "fill";
    const maps = { probability: nv.volumes[1], uncertainty: this.map };
    for (const [name, volume] of Object.entries(maps)) {
      if (!volume) continue;
      volume.opacity = mark === name ? opacity : 0;
      volume.cal_min = 0.05 * ONE;
      volume.cal_max = ONE;
      volume.colormapType = 0;
    }
    if (drawn) {
      const mask = marked ? await unpacked(marked) : null;
      marks(mask ?? this.probability, mask ? 1 / ONE : threshold, this.reference, nv.drawBitmap);
    } else {
      nv.drawBitmap.fill(0);
    }
    nv.drawRimOpacity = drawn ? 1 : -1;
    nv.drawOpacity = view === "solid" ? 1 : mark === "fill" ? Math.max(opacity, 0.01) : 0.01;
    nv.refreshDrawing(same); // where nothing but the marks has changed, the volumes need not be made ready again
    if (!same) nv.updateGLVolume();
  }

  /** The grey values that are black and white now, which a drag with the right button changes too. */
  get window() {
    const { cal_min: low, cal_max: high } = this.nv.volumes[0];
    return [low, high];
  }

  get slice() {
    return Math.round(this.nv.frac2vox(this.nv.scene.crosshairPos)[2]);
  }

  /** Move the crosshair to a voxel, or along the axes by steps. */
  goTo(voxel) {
    const limits = this.dims;
    const within = voxel.map((v, i) => Math.min(Math.max(Math.round(v), 0), limits[i] - 1));
    this.nv.scene.crosshairPos = this.nv.vox2frac(within);
    this.nv.createOnLocationChange();
    this.nv.drawScene();
  }

  step(dx, dy, dz) {
    const [x, y, z] = this.nv.frac2vox(this.nv.scene.crosshairPos);
    this.goTo([x + dx, y + dy, z + dz]);
  }

  goToSlice(z) {
    const [x, y] = this.nv.frac2vox(this.nv.scene.crosshairPos);
    this.goTo([x, y, z]);
  }

  /** The probability under the crosshair, 0 to 1. */
  get here() {
    const [nx, ny] = this.dims;
    const [x, y, z] = this.nv.frac2vox(this.nv.scene.crosshairPos).map(Math.round);
    return this.probability[x + nx * (y + ny * z)] / ONE;
  }
}
