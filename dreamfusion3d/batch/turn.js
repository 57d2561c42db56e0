"use strict";
// Interactive 3D view of an asset: reads the GLBs that this package writes and draws them with one WebGL context
// for the whole page (browsers limit a page to sixteen), with the light and the camera of the thumbnail.
// model-viewer is not used: it adds a megabyte to each sheet, needs blob: and worker permissions that the page's
// policy denies, and cannot open the GLB next to a page opened as a file.
const Turn = (() => {
  const AZIMUTH = 30, ELEVATION = 20, DISTANCE = 2.9, FOV = 33, FILL = 0.84;  // rendering/turntable.py
  const LIGHT = [0.3496, 0.5494, 0.7591], AMBIENT = 0.4, DIFFUSE = 0.6;  // rendering/shading.py; right, up, towards the viewer
  const RADIANS = Math.PI / 180, FOCAL = 1 / Math.tan(FOV / 2 * RADIANS);
  const COUNT = {SCALAR: 1, VEC2: 2, VEC3: 3, VEC4: 4};
  const ARRAY = {5120: Int8Array, 5121: Uint8Array, 5122: Int16Array, 5123: Uint16Array, 5125: Uint32Array, 5126: Float32Array};
  const WHOLE = {5120: 127, 5121: 255, 5122: 32767, 5123: 65535};

  async function inflate(text) {
    const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
  }

  // glTF 2.0: the first primitive of the first mesh, with its node's scale and translation and its base color
  async function read(buffer) {
    const view = new DataView(buffer);
    if (view.getUint32(0, true) !== 0x46546C67) throw new Error("not a GLB");
    const length = view.getUint32(12, true), start = 28 + length;
    const tree = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 20, length)));
    const part = index => {
      const v = tree.bufferViews[index];
      return new Uint8Array(buffer, start + (v.byteOffset || 0), v.byteLength);
    };
    const values = index => {
      const a = tree.accessors[index], width = COUNT[a.type], bytes = part(a.bufferView);
      const size = ARRAY[a.componentType].BYTES_PER_ELEMENT;
      const stride = tree.bufferViews[a.bufferView].byteStride || width * size;
      const whole = a.componentType === 5125 || (!a.normalized && a.type === "SCALAR");
      const from = new DataView(bytes.buffer, bytes.byteOffset + (a.byteOffset || 0));
      const get = {5120: "getInt8", 5121: "getUint8", 5122: "getInt16", 5123: "getUint16", 5125: "getUint32", 5126: "getFloat32"}[a.componentType];
      const out = whole ? new Uint32Array(a.count * width) : new Float32Array(a.count * width);
      const by = a.normalized ? WHOLE[a.componentType] : 1;
      for (let i = 0; i < a.count; i++) for (let j = 0; j < width; j++) out[i * width + j] = from[get](i * stride + j * size, true) / by;
      return out;
    };
    const node = tree.nodes.find(n => n.mesh !== undefined), primitive = tree.meshes[node.mesh].primitives[0];
    const has = primitive.attributes, points = values(has.POSITION);
    const scale = node.scale || [1, 1, 1], place = node.translation || [0, 0, 0];
    for (let i = 0; i < points.length; i++) points[i] = points[i] * scale[i % 3] + place[i % 3];
    const faces = values(primitive.indices);
    const model = {points, faces, normals: has.NORMAL === undefined ? normals(points, faces) : values(has.NORMAL)};
    if (has.COLOR_0 !== undefined) {
      const wide = tree.accessors[has.COLOR_0].type === "VEC4" ? 4 : 3, all = values(has.COLOR_0);
      model.colors = Float32Array.from({length: points.length}, (_, i) => all[Math.floor(i / 3) * wide + i % 3]);
    }
    const material = (tree.materials || [])[primitive.material], base = material && material.pbrMetallicRoughness;
    if (base && base.baseColorTexture && has.TEXCOORD_0 !== undefined) {
      const image = tree.images[tree.textures[base.baseColorTexture.index].source];
      model.uv = values(has.TEXCOORD_0);
      model.image = await createImageBitmap(new Blob([part(image.bufferView)], {type: image.mimeType}), {colorSpaceConversion: "none", premultiplyAlpha: "none"});
    }
    return framed(model);
  }

  // vertex normals, weighted by the areas of the adjacent faces
  function normals(p, faces) {
    const out = new Float32Array(p.length);
    for (let i = 0; i < faces.length; i += 3) {
      const [a, b, c] = [3 * faces[i], 3 * faces[i + 1], 3 * faces[i + 2]];
      const u = [p[b] - p[a], p[b + 1] - p[a + 1], p[b + 2] - p[a + 2]], v = [p[c] - p[a], p[c + 1] - p[a + 1], p[c + 2] - p[a + 2]];
      const n = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
      for (const k of [a, b, c]) for (let j = 0; j < 3; j++) out[k + j] += n[j];
    }
    return out;
  }

  // rows: right, up, and from the object to the camera
  function axes(azimuth, elevation) {
    const [a, e] = [azimuth * RADIANS, elevation * RADIANS], [sa, ca, se, ce] = [Math.sin(a), Math.cos(a), Math.sin(e), Math.cos(e)];
    return [[ca, 0, -sa], [-sa * se, ce, -ca * se], [sa * ce, se, ca * ce]];
  }

  // translated and scaled like the turntable: fills the image from all sides, stays on its axis
  function framed(model) {
    const p = model.points, low = [0, 1, 2].map(() => Infinity), high = low.map(() => -Infinity);
    for (let i = 0; i < p.length; i++) { low[i % 3] = Math.min(low[i % 3], p[i]); high[i % 3] = Math.max(high[i % 3], p[i]); }
    const middle = low.map((x, i) => (x + high[i]) / 2);
    let size = Math.max(Math.hypot(...low.map((x, i) => high[i] - x)) / 2, 1e-9);
    for (let i = 0; i < p.length; i++) p[i] = (p[i] - middle[i % 3]) / size;
    const skip = 3 * Math.max(1, Math.floor(p.length / 6000));
    let scale = 1, up = 0;
    for (let round = 0; round < 6; round++) {
      const seen = [Infinity, -Infinity, Infinity, -Infinity];
      for (let turn = 0; turn < 360; turn += 30) {
        const [r, u, f] = axes(AZIMUTH + turn, ELEVATION);
        for (let i = 0; i < p.length; i += skip) {
          const q = [p[i] * scale, p[i + 1] * scale + up, p[i + 2] * scale];
          const w = DISTANCE - (f[0] * q[0] + f[1] * q[1] + f[2] * q[2]);
          const x = FOCAL * (r[0] * q[0] + r[1] * q[1] + r[2] * q[2]) / w, y = FOCAL * (u[0] * q[0] + u[1] * q[1] + u[2] * q[2]) / w;
          seen[0] = Math.min(seen[0], x); seen[1] = Math.max(seen[1], x); seen[2] = Math.min(seen[2], y); seen[3] = Math.max(seen[3], y);
        }
      }
      up -= (seen[2] + seen[3]) / 2 * DISTANCE / FOCAL;
      const by = FILL * 2 / Math.max(seen[1] - seen[0], seen[3] - seen[2], 1e-9);
      scale *= by; up *= by;
    }
    for (let i = 0; i < p.length; i++) p[i] = p[i] * scale + (i % 3 === 1 ? up : 0);
    return model;
  }

  const VERTEX = `#version 300 es
in vec3 point; in vec3 normal; in vec3 color; in vec2 uv;
uniform vec3 right, up, back; uniform float near;
out vec3 n; out vec3 base; out vec2 at;
void main() {
  vec3 view = vec3(dot(right, point), dot(up, point), dot(back, point));
  float w = ${DISTANCE} - view.z, far = 2. * ${DISTANCE} - near;
  gl_Position = vec4(${FOCAL} * view.xy, (w * (far + near) - 2. * far * near) / (far - near), w);
  n = vec3(dot(right, normal), dot(up, normal), dot(back, normal)); base = color; at = uv;
}`;
  const FRAGMENT = `#version 300 es
precision highp float;
in vec3 n; in vec3 base; in vec2 at; uniform sampler2D image; uniform bool textured; out vec4 result;
void main() {
  vec3 albedo = textured ? texture(image, at).rgb : base;
  float shade = ${AMBIENT} + ${DIFFUSE} * max(dot(normalize(n), vec3(${LIGHT})), 0.);
  result = vec4(albedo * shade, 1);
}`;
  let shared = null;  // {canvas, gl, program, model}

  function context() {
    if (shared && !shared.gl.isContextLost()) return shared;
    const canvas = document.createElement("canvas");
    const gl = canvas.getContext("webgl2", {antialias: true, alpha: true, preserveDrawingBuffer: true});
    if (!gl) throw new Error("this browser has no WebGL 2");
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source); gl.compileShader(shader); gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) || "shader");
    gl.useProgram(program); gl.enable(gl.DEPTH_TEST);
    return shared = {canvas, gl, program, model: null, buffers: [], texture: null};
  }

  function upload(c, model) {
    const {gl, program} = c;
    c.buffers.forEach(b => gl.deleteBuffer(b));
    if (c.texture) gl.deleteTexture(c.texture);
    c.buffers = []; c.texture = null; c.model = model;
    const buffer = (target, data) => { const b = gl.createBuffer(); gl.bindBuffer(target, b); gl.bufferData(target, data, gl.STATIC_DRAW); c.buffers.push(b); };
    for (const [name, data, width] of [["point", model.points, 3], ["normal", model.normals, 3], ["color", model.colors, 3], ["uv", model.uv, 2]]) {
      const where = gl.getAttribLocation(program, name);
      if (!data) { gl.disableVertexAttribArray(where); gl.vertexAttrib4f(where, .7, .7, .7, 1); continue; }
      buffer(gl.ARRAY_BUFFER, data);
      gl.enableVertexAttribArray(where); gl.vertexAttribPointer(where, width, gl.FLOAT, false, 0, 0);
    }
    buffer(gl.ELEMENT_ARRAY_BUFFER, model.faces);
    gl.uniform1i(gl.getUniformLocation(program, "textured"), model.image ? 1 : 0);
    if (!model.image) return;
    c.texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, c.texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, model.image);  // row 0 is v = 0 in glTF
    gl.generateMipmap(gl.TEXTURE_2D);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
  }

  function draw(model, target, pose) {
    const c = context(), {gl} = c, size = target.width;
    if (c.model !== model) upload(c, model);
    if (c.canvas.width !== size) c.canvas.width = c.canvas.height = size;
    gl.viewport(0, 0, size, size);
    gl.clearColor(0, 0, 0, 0); gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const rows = axes(pose.azimuth, pose.elevation);
    ["right", "up", "back"].forEach((name, i) => gl.uniform3fv(gl.getUniformLocation(c.program, name), rows[i]));
    gl.uniform1f(gl.getUniformLocation(c.program, "near"), 0.5);
    gl.drawElements(gl.TRIANGLES, model.faces.length, gl.UNSIGNED_INT, 0);
    const flat = target.getContext("2d");
    flat.clearRect(0, 0, size, size); flat.drawImage(c.canvas, 0, 0);
  }

  // show the model from `load` (a promise of a GLB's bytes) in `box`; `failed` receives the error
  function mount(box, load, failed) {
    const pose = {azimuth: AZIMUTH, elevation: ELEVATION};
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    let model = null, loading = null, canvas = null, spinning = false, held = null, last = 0;
    const paint = () => { if (model && canvas) draw(model, canvas, pose); };
    const spin = now => {
      if (!spinning || !box.isConnected) { spinning = false; return; }
      pose.azimuth += Math.min(now - last, 50) * 0.04; last = now;
      paint(); requestAnimationFrame(spin);
    };
    const start = () => loading || (loading = load().then(read).then(found => {
      model = found;
      canvas = document.createElement("canvas");
      const side = Math.round(Math.max(box.clientWidth, 64) * Math.min(devicePixelRatio || 1, 2));
      canvas.width = canvas.height = side;
      canvas.setAttribute("aria-hidden", "true");
      paint();
      box.replaceChildren(canvas); box.classList.add("turning");
    }).catch(error => { loading = null; failed(error); throw error; }));
    const go = on => {
      if (on === spinning) return;
      spinning = on;
      if (on) { last = performance.now(); requestAnimationFrame(spin); }
    };
    const enter = () => start().then(() => { if (!still && !held && box.matches(":hover, :focus-visible")) go(true); }, () => {});
    let waiting = 0;
    box.addEventListener("pointerenter", e => { if (e.pointerType === "mouse") waiting = setTimeout(enter, 200); });
    box.addEventListener("pointerleave", () => { clearTimeout(waiting); go(false); });
    box.addEventListener("pointerdown", e => {
      if (e.button) return;
      start().catch(() => {});
      go(false); held = [e.clientX, e.clientY]; box.setPointerCapture(e.pointerId); e.preventDefault(); box.focus({preventScroll: true});
    });
    box.addEventListener("pointermove", e => {
      if (!held) return;
      pose.azimuth -= (e.clientX - held[0]) * 0.6;
      pose.elevation = Math.max(-85, Math.min(85, pose.elevation + (e.clientY - held[1]) * 0.6));
      held = [e.clientX, e.clientY];
      paint();
    });
    for (const end of ["pointerup", "pointercancel"]) box.addEventListener(end, () => { held = null; });
    box.addEventListener("keydown", e => {
      const by = {ArrowLeft: [10, 0], ArrowRight: [-10, 0], ArrowUp: [0, 10], ArrowDown: [0, -10]}[e.key];
      if (!by) return;
      e.preventDefault(); go(false);
      pose.azimuth += by[0]; pose.elevation = Math.max(-85, Math.min(85, pose.elevation + by[1]));
      start().then(paint, () => {});
    });
    return {pose, start, get model() { return model; }};
  }
  return {mount, read, inflate, draw};
})();
