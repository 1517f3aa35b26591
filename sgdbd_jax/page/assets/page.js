// What the page does, and what it does in workers beside it: see `serveAsWorker`.

const SHOWN = 640; // pixels of a shown picture's longer side
const AT_ONCE = 2; // photos that the server is asked for

if (typeof document !== "undefined") openPage();
else serveAsWorker();

// ---------------------------------------------------------------------------------------------------- the page

function openPage() {
  const settings = JSON.parse(document.getElementById("settings").textContent);
  const at = id => document.getElementById(id);
  const items = []; // { file, place, name, card, mask (a PNG), photo (what the browser can show), numbers, small }
  const names = new Set(); // of results, as a file system compares them
  const ask = settings.mode === "server" ? askServer(settings) : askDetector(settings);
  const packer = askWorker();
  let working = 0, places = 0, packing = false;
  const watch = new IntersectionObserver(changes => changes.forEach(({ target, isIntersecting }) => {
    const item = items.find(each => each.card === target);
    if (!item || item.visible === isIntersecting) return;
    item.visible = isIntersecting;
    if (item.state === "done") draw(item);
  }), { rootMargin: "100%" });

  const input = at("files");
  if (settings.mode === "server") input.accept += `,${settings.suffixes}`;
  input.addEventListener("change", () => { add(input.files); input.value = ""; });
  for (const kind of ["dragenter", "dragover"]) {
    addEventListener(kind, event => { event.preventDefault(); document.body.classList.add("dropping"); });
  }
  addEventListener("dragleave", event => event.relatedTarget || document.body.classList.remove("dropping"));
  addEventListener("drop", event => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    add(event.dataTransfer.files);
  });
  addEventListener("paste", event => add(event.clipboardData.files));
  at("order").addEventListener("change", sort);
  at("cut").addEventListener("change", redraw);
  at("level").addEventListener("input", () => { at("cut").checked = true; redraw(); });
  at("masks").addEventListener("click", () => saveAll("masks.zip", ["mask"]));
  at("everything").addEventListener("click", () => saveAll("focus.zip", ["mask", "overlay", "cutout"]));
  at("clear").addEventListener("click", () => {
    if (!confirm(`Remove all ${items.length} photos and their results?`)) return;
    [...items].forEach(remove);
    input.focus();
  });
  for (const [flag, meaning] of Object.entries(settings.flags)) {
    at("meanings").append(element("dt", flag.replaceAll("_", " ")), element("dd", meaning + "."));
  }
  at("privacy").textContent = settings.mode === "server"
    ? `Photos go to ${location.host}, which keeps none.` : "Photos do not leave this browser.";
  addEventListener("beforeunload", event => { // asks, for photos and masks would be gone
    if (items.some(item => item.state === "done")) event.preventDefault();
  });
  at("drop").hidden = false;
  tell();

  function add(files) {
    for (const file of files) {
      const card = at("card").content.firstElementChild.cloneNode(true);
      const item = { file, card, place: places++, name: freeName(file.name) };
      card.querySelector("h2").textContent = file.name;
      card.classList.add("waiting");
      for (const button of card.querySelectorAll("button")) {
        button.setAttribute("aria-label", `${button.textContent} of ${file.name}`);
        button.addEventListener("click", () => press(item, button));
      }
      for (const figure of card.querySelectorAll("figure")) {
        figure.firstChild.setAttribute("aria-label", `${figure.textContent.trim()} of ${file.name}`);
      }
      items.push(item);
      at("photos").append(card);
      watch.observe(card);
    }
    sort();
    next();
  }

  function press(item, button) {
    if (button.value === "remove") remove(item);
    else if (button.value === "larger") button.ariaPressed = String(item.card.classList.toggle("larger"));
    else save(item, button.value);
  }

  function freeName(file) { // of results: as `sgdbd` names them
    const stem = file.replace(/\.[^.]*$/, "") || file;
    let name = stem;
    for (let count = 2; names.has(name.normalize("NFC").toLowerCase()); count++) name = `${stem}-${count}`;
    names.add(name.normalize("NFC").toLowerCase());
    return name;
  }

  function next() {
    tell();
    while (working < (settings.mode === "server" ? AT_ONCE : 1)) {
      const item = items.find(each => !each.state);
      if (!item) return;
      working++;
      item.state = "working";
      item.card.querySelector(".numbers").textContent = settings.mode === "server"
        ? "working; the first photo of each shape takes longest" : "working";
      work(item).catch(error => fail(item, error)).finally(() => { working--; sort(); next(); });
    }
  }

  async function work(item) {
    Object.assign(item, await ask(item.file));
    const { width, height } = item.numbers;
    let picture = item.photo && await createImageBitmap(item.photo).catch(() => null);
    if (settings.mode === "server" && (picture?.width !== width || picture?.height !== height)) {
      item.photo = await askPhoto(item.file);
      picture = await createImageBitmap(item.photo);
    }
    const mask = await createImageBitmap(item.mask);
    const scale = Math.min(1, SHOWN / Math.max(width, height));
    const small = [Math.max(1, Math.round(scale * width)), Math.max(1, Math.round(scale * height))];
    item.small = { photo: pixels(picture, ...small), mask: redOf(pixels(mask, ...small)) };
    item.bright = histogram(redOf(pixels(mask)));
    picture.close();
    mask.close();
    item.state = "done";
    item.card.classList.remove("waiting");
    for (const canvas of item.card.querySelectorAll("canvas")) canvas.style.aspectRatio = `${small[0]} / ${small[1]}`;
    item.card.querySelectorAll("button").forEach(button => { button.disabled = false; });
    describe(item);
    draw(item);
  }

  function fail(item, error) {
    item.state = "failed";
    item.error = error.message;
    item.card.classList.replace("waiting", "failed");
    item.card.querySelectorAll("button:disabled").forEach(button => button.remove());
    at("failures").textContent = `${item.file.name}: ${error.message}`;
    item.card.querySelector(".numbers").textContent = error.message;
  }

  function remove(item) {
    const place = items.indexOf(item);
    if (place < 0) return;
    items.splice(place, 1);
    const neighbour = item.card.nextElementSibling ?? item.card.previousElementSibling;
    const focused = item.card.contains(document.activeElement);
    names.delete(item.name.normalize("NFC").toLowerCase());
    item.state = "removed";
    watch.unobserve(item.card);
    item.card.remove();
    if (focused) (neighbour?.querySelector("button[value=remove]") ?? input).focus();
    tell();
  }

  function describe({ card, numbers }) {
    const { score, share, unknown, box, centre, width, height, flags, notes = [] } = numbers;
    const at = selector => card.querySelector(selector);
    at(".score").replaceChildren(element("small", "score "), score.toFixed(2));
    at(".numbers").textContent = `${percent(share)} in focus, ${percent(unknown)} unknown`;
    at(".where").textContent = [
      `${width} x ${height}`,
      box ? `box ${box[0]}, ${box[1]} to ${box[2]}, ${box[3]}` : "box none",
      centre ? `centre ${Math.round(centre[0])}, ${Math.round(centre[1])}` : "centre none",
      ...notes,
    ].join("; ");
    at(".flags").replaceChildren(...flags.map(flag => {
      const label = element("b", flag.replaceAll("_", " "));
      label.className = flag;
      label.title = settings.flags[flag];
      return label;
    }));
  }

  function threshold() { // of masks, of 255; none where they keep their greys
    return at("cut").checked ? 255 * at("level").value : null;
  }

  function draw({ card, small, bright, visible }) { // pictures that nobody sees take neither time nor memory
    const [photo, mask, overlay, cutout] = card.querySelectorAll("canvas");
    if (visible) {
      const level = { ...small.mask, data: cutAt(small.mask.data, threshold()) };
      show(photo, small.photo);
      show(mask, level);
      show(overlay, overlaid(small.photo, level, settings.overlay));
      show(cutout, cutOut(small.photo, level));
    } else {
      for (const canvas of [photo, mask, overlay, cutout]) canvas.width = canvas.height = 0;
    }
    const total = bright.reduce((sum, count) => sum + count);
    const above = bright.reduce((sum, count, value) => value >= threshold() ? sum + count : sum, 0);
    card.querySelector(".cut").textContent =
      threshold() === null ? "" : `${percent(above / total)} at threshold ${Number(at("level").value).toFixed(2)}`;

    function show(canvas, picture) {
      const { width, height } = picture;
      Object.assign(canvas, { width, height });
      canvas.getContext("2d").putImageData(new ImageData(rgbaOf(picture), width, height), 0, 0);
    }
  }

  let asked = 0;
  function redraw() {
    at("level-shown").textContent = Number(at("level").value).toFixed(2);
    cancelAnimationFrame(asked);
    asked = requestAnimationFrame(() => items.filter(item => item.state === "done").forEach(draw));
  }

  function sort() {
    const [key, sign] = at("order").value.split(" ");
    const value = item => key === "place" ? item.place : key === "name" ? item.file.name : item.numbers?.[key];
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === undefined || y === undefined) return (x === undefined) - (y === undefined) || a.place - b.place;
      return sign * (key === "name" ? x.localeCompare(y, undefined, { numeric: true }) : x - y) || a.place - b.place;
    };
    const cards = [...items].sort(compare).map(item => item.card), focused = document.activeElement;
    cards.forEach((card, place) => {
      if (at("photos").children[place] !== card) at("photos").insertBefore(card, at("photos").children[place] ?? null);
    });
    if (document.activeElement !== focused) focused?.focus({ preventScroll: true });
  }

  function tell(text) {
    const count = state => items.filter(item => item.state === state).length;
    const [done, failed] = [count("done"), count("failed")], busy = items.length > done + failed;
    const failures = failed ? `, ${failed} failed` : "";
    const photos = done === 1 ? "photo" : "photos";
    document.body.classList.toggle("empty", !items.length);
    at("tools").hidden = !items.length;
    at("masks").disabled = at("everything").disabled = !done || busy || packing;
    at("masks").title = at("everything").title = busy ? "once all photos are done" : "";
    at("photos").ariaBusy = String(busy);
    if (!items.length) at("failures").textContent = "";
    at("status").ariaLive = busy ? "off" : "polite"; // the end is spoken, not each photo
    at("status").textContent = text ?? (!items.length ? "" : busy
      ? `${done} of ${items.length} photos done${failures}` : `${done} ${photos} done${failures}`);
  }

  async function result({ mask, photo }, kind) { // a PNG, at the photo's size
    if (kind === "mask" && threshold() === null) return mask;
    return (await packer("result", { mask, photo, kind, threshold: threshold(), overlay: settings.overlay })).picture;
  }

  async function save(item, kind) {
    try {
      offer(`${item.name}.${kind}.png`, await result(item, kind));
    } catch (error) {
      tell(`${item.file.name}: ${error.message}`);
    }
  }

  async function saveAll(name, kinds) {
    const done = items.filter(item => item.state === "done").sort((a, b) => a.place - b.place);
    const files = [["report.csv", new Blob([report(items)])]];
    packing = true;
    try {
      for (const [number, item] of done.entries()) {
        tell(`packing ${number + 1} of ${done.length}`);
        for (const kind of kinds) files.push([`${item.name}.${kind}.png`, await result(item, kind)]);
      }
      offer(name, await zip(files));
      packing = false;
      tell();
    } catch (error) {
      packing = false;
      tell(`${name}: ${error.message}`);
    }
  }
}

function offer(name, blob) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // once the download has begun
}

function element(name, text) {
  return Object.assign(document.createElement(name), { textContent: text });
}

function spelt(number) {
  return number.toLocaleString("en");
}

function percent(share) {
  return `${Math.round(100 * share)}%`;
}

// ---------------------------------------------------------------------------------------------------- who finds masks

function askServer({ bytes }) {
  return async file => {
    if (!file.size) throw Error("the file is empty");
    if (file.size > bytes) {
      throw Error(`the file has ${spelt(file.size)} bytes, more than the ${spelt(bytes)} that are taken`);
    }
    const answer = await post("api/mask", file);
    const start = new Uint8Array(await file.slice(0, 3).arrayBuffer());
    const photo = String(start) === "255,216,255" ? file : null; // browsers read JPEGs alone as sgdbd does
    return { mask: await answer.blob(), photo, numbers: JSON.parse(answer.headers.get("Focus")) };
  };
}

async function askPhoto(file) {
  return (await post("api/photo", file)).blob();
}

async function post(address, file) {
  const headers = { "Content-Type": "application/octet-stream", "Accept": "image/png" };
  const answer = await fetch(address, { method: "POST", headers, body: file }).catch(() => {
    throw Error("the server does not answer, or this file cannot be read any more");
  });
  if (answer.ok) return answer;
  throw Error((await answer.json().catch(() => ({}))).error ?? `the server answers ${answer.status}`);
}

function askDetector(settings) {
  const detector = askWorker();
  return file => detector("detect", file, settings);
}

function askWorker() { // starts at once, for results can be had when the server is gone
  const asked = new Map();
  let last = 0, worker = start();

  function start() {
    // From a blob, it is bound by the page's Content-Security-Policy; from the web host it would be by the host's.
    const script = new Blob([`import ${JSON.stringify(import.meta.url)};`], { type: "text/javascript" });
    const started = new Worker(URL.createObjectURL(script), { type: "module" });
    started.onmessage = ({ data: { id, error, ...found } }) => {
      const { resolve, reject } = asked.get(id);
      asked.delete(id);
      error ? reject(Error(error)) : resolve(found);
    };
    started.onerror = event => {
      event.preventDefault();
      const error = Error(`the page's worker did not start (${event.message ?? "blocked"})`);
      for (const { reject } of asked.values()) reject(error);
      asked.clear();
      started.terminate();
      worker = undefined; // who asks next starts another
    };
    return started;
  }

  return (name, ...given) => new Promise((resolve, reject) => {
    worker ??= start();
    asked.set(++last, { resolve, reject });
    worker.postMessage({ id: last, name, given });
  });
}

function serveAsWorker() {
  addEventListener("message", async ({ data: { id, name, given } }) => {
    try {
      postMessage({ id, ...await { detect, result }[name](...given) });
    } catch (error) {
      postMessage({ id, error: error.message || String(error) });
    }
  });
}

// ---------------------------------------------------------------------------------------------------- pictures
// A picture is { data, width, height }, its data row by row, 1, 3 or 4 bytes a pixel: grey, RGB or RGBA.

async function result({ mask, photo, kind, threshold, overlay }) {
  const level = redOf(await decode(mask));
  level.data = cutAt(level.data, threshold);
  if (kind === "mask") return { picture: await png(level) };
  return { picture: await png((kind === "overlay" ? overlaid : cutOut)(await decode(photo), level, overlay)) };
}

async function decode(blob, most = Infinity) {
  let picture;
  try {
    picture = await createImageBitmap(blob);
  } catch {
    throw Error("this browser cannot read it as a photo; save it as JPEG or PNG");
  }
  try {
    const count = picture.width * picture.height;
    const tooMany = `the photo has ${spelt(count)} pixels, more than the ${spelt(most)} that are taken`;
    if (count > most) throw Error(`${tooMany}; scale it down`);
    return pixels(picture);
  } finally {
    picture.close();
  }
}

// A file as browsers read it as sgdbd does: a PNG without the gamma that sgdbd leaves alone, a WebP without the
// orientation that only some browsers heed, which is given beside it.
async function plain(file) {
  const bytes = new Uint8Array(await file.arrayBuffer()), view = new DataView(bytes.buffer), parts = [];
  const name = at => String.fromCharCode(...bytes.subarray(at, at + 4));
  let kept = 0, next;
  if (name(1) === "PNG\r") {
    for (let at = 8; at + 12 <= bytes.length && name(at + 4) !== "IDAT"; at = next) {
      next = at + 12 + view.getUint32(at);
      if (!["gAMA", "cHRM", "cICP"].includes(name(at + 4))) continue;
      parts.push(bytes.subarray(kept, at));
      kept = next;
    }
    if (kept) return { blob: new Blob([...parts, bytes.subarray(kept)], { type: "image/png" }), orientation: 1 };
  } else if (name(0) === "RIFF" && name(8) === "WEBP") {
    for (let at = 12; at + 8 <= bytes.length; at = next) {
      const size = view.getUint32(at + 4, true);
      next = at + 8 + size + size % 2;
      const orientation = name(at) === "EXIF" ? takeOrientation(bytes.subarray(at + 8, at + 8 + size)) : 1;
      if (orientation > 1) return { blob: new Blob([bytes], { type: "image/webp" }), orientation };
    }
  }
  return { blob: file, orientation: 1 };
}

function takeOrientation(exif) { // and leaves 1 there
  try {
    const view = new DataView(exif.buffer, exif.byteOffset, exif.length);
    const start = view.getUint32(0) === 0x45786966 ? 6 : 0, little = view.getUint16(start) === 0x4949; // "Exif", "II"
    const entries = start + view.getUint32(start + 4, little);
    for (let at = entries + 2; at < entries + 2 + 12 * view.getUint16(entries, little); at += 12) {
      if (view.getUint16(at, little) !== 0x112) continue;
      const orientation = view.getUint16(at + 8, little);
      view.setUint16(at + 8, 1, little);
      return orientation <= 8 ? orientation : 1;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // damaged, as if it were not there
  }
  return 1;
}

function turned(photo, orientation) { // upright, by EXIF's numbers
  if (orientation <= 1) return photo;
  const across = orientation >= 5, data = new Uint8Array(photo.data.length);
  const [width, height] = across ? [photo.height, photo.width] : [photo.width, photo.height];
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [a, b] = across ? [y, x] : [x, y];
      const column = [2, 3, 7, 8].includes(orientation) ? photo.width - 1 - a : a;
      const row = [3, 4, 6, 7].includes(orientation) ? photo.height - 1 - b : b;
      for (let c = 0; c < 3; c++) data[to++] = photo.data[3 * (row * photo.width + column) + c];
    }
  }
  return { data, width, height };
}

function pixels(picture, width = picture.width, height = picture.height) { // RGB, on white; in strips, for canvases
  const data = new Uint8Array(3 * width * height); // may not have a large photo's size
  const strip = Math.max(1, Math.min(height, Math.floor(2 ** 22 / width)));
  const context = new OffscreenCanvas(width, strip).getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  for (let top = 0; top < height; top += strip) {
    context.fillStyle = "white";
    context.fillRect(0, 0, width, strip);
    context.drawImage(picture, 0, -top, width, height);
    const rgba = context.getImageData(0, 0, width, Math.min(strip, height - top)).data;
    for (let from = 0, to = 3 * top * width; from < rgba.length; from += 4) {
      data[to++] = rgba[from];
      data[to++] = rgba[from + 1];
      data[to++] = rgba[from + 2];
    }
  }
  return { data, width, height };
}

function made(Type, count, value) { // in a tenth of the time that `Type.from` takes
  const out = new Type(count);
  for (let n = 0; n < count; n++) out[n] = value(n);
  return out;
}

function redOf({ data, width, height }) {
  return { data: made(Uint8Array, width * height, n => data[3 * n]), width, height };
}

function rgbaOf({ data, width, height }) {
  const channels = data.length / (width * height), rgba = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let place = 0; place < width * height; place++) {
    for (let c = 0; c < 4; c++) {
      if (c < 3 || channels === 4) rgba[4 * place + c] = data[channels * place + (channels === 1 ? 0 : c)];
    }
  }
  return rgba;
}

function cutAt(mask, threshold) {
  return threshold === null ? mask : mask.map(value => value >= threshold ? 255 : 0);
}

function histogram({ data }) {
  const counts = Array(256).fill(0);
  for (const value of data) counts[value]++;
  return counts;
}

function overlaid({ data, width, height }, mask, { tint, strength }) {
  const out = new Uint8Array(data.length);
  for (let place = 0; place < out.length; place++) {
    const share = Math.round(strength * (255 - mask.data[Math.floor(place / 3)])) / 255;
    out[place] = Math.round(data[place] + share * (tint[place % 3] - data[place]));
  }
  return { data: out, width, height };
}

function cutOut({ data, width, height }, mask) {
  const out = new Uint8Array(4 * width * height);
  for (let n = 0; n < width * height; n++) {
    for (let c = 0; c < 3; c++) out[4 * n + c] = data[3 * n + c];
    out[4 * n + 3] = mask.data[n];
  }
  return { data: out, width, height };
}

// ---------------------------------------------------------------------------------------------------- files

let crcTable;
function crc32(...parts) {
  crcTable ??= Uint32Array.from({ length: 256 }, (_, value) => {
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ value >>> 1 : value >>> 1;
    return value;
  });
  let crc = -1;
  for (const bytes of parts) for (const byte of bytes) crc = crcTable[(crc ^ byte) & 255] ^ crc >>> 8;
  return (crc ^ -1) >>> 0;
}

async function png({ data, width, height }) { // W3C, "Portable Network Graphics", every row less the one above it
  const channels = data.length / (width * height), stride = channels * width;
  const rows = new Uint8Array((stride + 1) * height);
  for (let row = 0, to = 0; row < height; row++) {
    rows[to++] = 2; // the filter "up"
    for (let from = row * stride; from < (row + 1) * stride; from++) {
      rows[to++] = data[from] - (row && data[from - stride]);
    }
  }
  const packing = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 8);
  header.setUint8(9, { 1: 0, 3: 2, 4: 6 }[channels]);
  const chunks = [["IHDR", header.buffer], ["IDAT", await new Response(packing).arrayBuffer()], ["IEND", []]];
  const parts = chunks.flatMap(([kind, content]) => {
    const bytes = new Uint8Array(content), name = new TextEncoder().encode(kind);
    return [bigEndian(bytes.length), name, bytes, bigEndian(crc32(name, bytes))];
  });
  return new Blob([Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10), ...parts], { type: "image/png" });
}

function bigEndian(value) {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}

async function zip(files) { // PKWARE, "APPNOTE.TXT"; files as they are, for PNGs do not pack further
  const now = new Date(), parts = [], entries = [];
  const time = now.getHours() << 11 | now.getMinutes() << 5 | now.getSeconds() >> 1;
  const date = now.getFullYear() - 1980 << 9 | now.getMonth() + 1 << 5 | now.getDate();
  let offset = 0, length = 0;
  for (const [name, blob] of files) {
    const bytes = new TextEncoder().encode(name), crc = crc32(new Uint8Array(await blob.arrayBuffer()));
    const common = [[20, 2], [0x800, 2], [0, 2], [time, 2], [date, 2], [crc, 4], [blob.size, 4], [blob.size, 4],
      [bytes.length, 2], [0, 2]]; // 0x800: the name is UTF-8
    const local = fields([0x04034b50, 4], ...common);
    const entry = fields([0x02014b50, 4], [20, 2], ...common, [0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]);
    parts.push(local, bytes, blob);
    entries.push(entry, bytes);
    offset += local.length + bytes.length + blob.size;
    length += entry.length + bytes.length;
    if (offset + length > 0xfffffffe || files.length > 0xfffe) throw Error("too much for one zip; take fewer photos");
  }
  const count = [files.length, 2];
  const end = fields([0x06054b50, 4], [0, 2], [0, 2], count, count, [length, 4], [offset, 4], [0, 2]);
  return new Blob([...parts, ...entries, end], { type: "application/zip" });
}

function fields(...values) { // little-endian
  return Uint8Array.from(values.flatMap(([value, bytes]) => Array.from({ length: bytes }, (_, n) => value >>> 8 * n)));
}

function report(items) { // as `sgdbd` writes it
  const columns = ["path", "name", "status", "error", "width", "height", "score", "share", "unknown", "left", "top",
    "right", "bottom", "centre_x", "centre_y", "flags"];
  const cell = value => {
    const text = typeof value === "string" && /^[=+\-@\t\r\n]/.test(value) ? `'${value}` : String(value ?? "");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const rows = items.map(({ file, name, state, error, numbers = {} }) => {
    const { width, height, score, share, unknown, box, centre, flags = [] } = numbers;
    return [file.name, name, state, error, width, height, score, share, unknown, ...box ?? Array(4),
      ...centre ?? Array(2), flags.join(" ")];
  });
  return [columns, ...rows].map(row => Array.from(row, cell).join(",") + "\r\n").join("");
}

// ---------------------------------------------------------------------------------------------------- the detector
// What sgdbd_jax.detection does, in a browser. A map is { data, width, height }, its data floats, one a pixel.

async function detect(file, settings) {
  checkCanvas();
  const { blob, orientation } = await plain(file);
  const photo = turned(await decode(blob, settings.pixels), orientation), { width, height } = photo;
  const shown = resizePhoto(photo, ...workingSize(width, height, settings.work_size));
  const seen = await network(shown, settings);
  const refined = settings.refinement ? refine(seen, shown, settings.refinement) : seen;
  const mask = resizeMap(refined, width, height);
  const numbers = { width, height, ...measure(photo, mask, seen, settings.focus) };
  const data = made(Uint8Array, width * height, n => Math.round(255 * mask.data[n]));
  const upright = orientation > 1 ? await png(photo) : blob;
  return { mask: await png({ data, width, height }), photo: upright, numbers };
}

function checkCanvas() { // some browsers change what pages read of pictures, against being recognised
  const context = new OffscreenCanvas(16, 16).getContext("2d", { willReadFrequently: true });
  const values = Uint8ClampedArray.from({ length: 1024 }, (_, n) => n % 4 === 3 ? 255 : n * 7 % 251);
  const drawn = new ImageData(values, 16, 16);
  context.putImageData(drawn, 0, 0);
  if (context.getImageData(0, 0, 16, 16).data.some((value, n) => value !== drawn.data[n])) {
    throw Error("this browser does not let pages read pictures as they are; allow this page to read canvases");
  }
}

function workingSize(width, height, size) { // as a Detector takes it: N, "max:N" or "native"
  if (size === "native") return [width, height];
  const side = Number(String(size).replace("max:", ""));
  return String(size).startsWith("max:") ? within(side, width, height) : [side, side];
}

function within(side, width, height) {
  const scale = Math.min(1, side / Math.max(width, height));
  return [Math.max(1, round(scale * width)), Math.max(1, round(scale * height))];
}

function round(value) { // as Python does: halves to the even neighbour
  const floor = Math.floor(value);
  return value - floor === 0.5 ? floor + floor % 2 : Math.round(value);
}

let session; // of onnxruntime, by WebAssembly

async function network({ data, width, height }, settings) {
  session ??= startSession(settings);
  const { ort, model } = await session.catch(error => {
    session = undefined; // the next photo may find it again
    throw error;
  });
  const photos = new ort.Tensor("uint8", data, [1, height, width, 3]);
  return { data: Object.values(await model.run({ photos }))[0].data, width, height };
}

async function startSession({ model, runtime }) {
  const ort = await import(new URL(`${runtime}ort.wasm.min.mjs`, import.meta.url));
  ort.env.wasm.wasmPaths = new URL(runtime, import.meta.url).href;
  const answer = await fetch(new URL(model, import.meta.url));
  if (!answer.ok) throw Error(`${model}: the web host answers ${answer.status}`);
  const options = { executionProviders: ["wasm"], logSeverityLevel: 3 };
  return { ort, model: await ort.InferenceSession.create(new Uint8Array(await answer.arrayBuffer()), options) };
}

function refine(mask, photo, how) { // sgdbd_jax.detection.refine, without the cut by colours
  const { width, height } = mask;
  const [w, h] = within(how.filter_side || Math.max(width, height), width, height);
  const radius = Math.max(1, round(how.radius * Math.max(w, h)));
  const filtered = guidedFilter(resizeMap(mask, w, h), resizePhoto(photo, w, h), radius, how.epsilon);
  const small = resizeMap(filtered, ...within(how.side, w, h));
  return resizeMap({ ...small, data: small.data.map(value => value > how.middle ? 1 : 0) }, width, height);
}

function guidedFilter(mask, photo, radius, epsilon) { // He, Sun and Tang, PAMI 2013: Eq. 19 to 21
  const { width, height } = mask, count = width * height;
  const map = value => made(Float64Array, count, value);
  const mean = data => boxMean({ data, width, height }, radius).data;
  const guide = [0, 1, 2].map(c => map(n => photo.data[3 * n + c] / 255)), level = mask.data;
  const colour = guide.map(mean), middle = mean(level);
  const right = guide.map((each, i) => mean(map(n => each[n] * level[n])).map((v, n) => v - colour[i][n] * middle[n]));
  const spread = (i, j) => mean(map(n => guide[i][n] * guide[j][n]))
    .map((v, n) => v - colour[i][n] * colour[j][n] + (i === j ? epsilon : 0));
  const [A, B, C, D, E, F] = [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]].map(([i, j]) => spread(i, j));
  const fit = [0, 1, 2, 3].map(() => new Float64Array(count));
  for (let n = 0; n < count; n++) { // Cramer's rule
    const [a, b, c, d, e, f, x, y, z] = [A, B, C, D, E, F, ...right].map(each => each[n]);
    const aa = d * f - e * e, ab = c * e - b * f, ac = b * e - c * d, bb = a * f - c * c, bc = b * c - a * e;
    const cc = a * d - b * b, determinant = a * aa + b * ab + c * ac;
    fit[0][n] = (aa * x + ab * y + ac * z) / determinant;
    fit[1][n] = (ab * x + bb * y + bc * z) / determinant;
    fit[2][n] = (ac * x + bc * y + cc * z) / determinant;
    fit[3][n] = middle[n] - fit[0][n] * colour[0][n] - fit[1][n] * colour[1][n] - fit[2][n] * colour[2][n];
  }
  const [r, g, b, offset] = fit.map(mean);
  const value = n => r[n] * guide[0][n] + g[n] * guide[1][n] + b[n] * guide[2][n] + offset[n];
  return { data: made(Float32Array, count, n => Math.min(1, Math.max(0, value(n)))), width, height };
}

// ---------------------------------------------------------------------------------------------------- the numbers

function measure(photo, mask, seen, focus) { // by sgdbd_jax.detection.focus and its constants
  const whole = [photo.width, photo.height], scale = focus.side / Math.max(...whole);
  const [width, height] = whole.map(side => Math.max(1, round(scale * side)));
  const smaller = scale < 1, copy = resample(photo, 3, width, height, smaller ? area : cubic);
  const byte = value => Math.min(255, Math.max(0, round(value)));
  const grey = made(Float32Array, width * height, n => {
    const [red, green, blue] = [0, 1, 2].map(c => byte(copy.data[3 * n + c]));
    return 9798 * red + 19235 * green + 3735 * blue + 16384 >> 15; // as OpenCV does it in integers
  });
  const level = resample(mask, 1, width, height, smaller ? area : linear).data, count = level.length;
  const focused = level.map(value => value >= 0.5 ? 1 : 0);
  const mean = data => data.reduce((sum, value) => sum + value, 0) / data.length;
  const energies = [focus.fine, focus.coarse].map(sigma => gradientEnergy({ data: grey, width, height }, sigma));
  const [fine, coarse] = energies.map(({ data }) => {
    let sum = 0, weights = 0;
    for (let n = 0; n < count; n++) {
      const weight = focused[n] ? 1 : focus.blurredWeight;
      sum += weight * data[n];
      weights += weight;
    }
    return sum / weights;
  });
  const score = Math.max(fine - coarse, 0) / (fine + focus.flat ** 2);
  const known = boxMean(energies[1], (focus.window - 1) / 2).data.map(value => value >= focus.flat ** 2 ? 1 : 0);
  const share = mean(focused), unknown = 1 - mean(known), textured = known.reduce((sum, v) => sum + v, 0);
  const blurred = share < focus.leastShare || score < focus.leastScore;
  const sharp = known.reduce((sum, v, n) => sum + v * focused[n], 0);
  const unsure = certainty(resample(seen, 1, width, height, linear).data, focused) < focus.leastCertainty;
  const holds = {
    all_sharp: !blurred && textured > 0 && sharp / textured >= focus.mostShare,
    nothing_sharp: blurred,
    low_confidence: unsure || unknown >= 0.5 || Math.min(...whole) < focus.leastSide,
  };
  const digits = (value, places) => Number(value.toFixed(places));
  const { box, centre } = place(focused, width, height, ...whole, focus.speck);
  return {
    share: digits(share, 4), score: digits(score, 4), box, centre: centre && centre.map(value => digits(value, 1)),
    unknown: digits(unknown, 4), flags: Object.keys(holds).filter(flag => holds[flag]),
  };
}

function certainty(seen, focused) {
  const sums = [0, 0], counts = [0, 0];
  seen.forEach((value, n) => {
    sums[focused[n]] += focused[n] ? 1 - value : value;
    counts[focused[n]]++;
  });
  const doubts = sums.map((sum, part) => sum / counts[part]).filter((_, part) => counts[part]);
  return 1 - 2 * doubts.reduce((sum, doubt) => sum + doubt) / doubts.length;
}

function place(focused, width, height, wholeWidth, wholeHeight, speck) {
  const across = wholeWidth / width, down = wholeHeight / height, parts = [], known = new Uint8Array(focused.length);
  let sumX = 0, sumY = 0, count = 0;
  for (let first = 0; first < focused.length; first++) { // each part from its first pixel on
    if (!focused[first] || known[first]) continue;
    const part = { left: width, top: height, right: 0, bottom: 0, size: 0 }, open = [first];
    known[first] = 1;
    while (open.length) {
      const at = open.pop(), x = at % width, y = (at - x) / width;
      sumX += x;
      sumY += y;
      part.size++;
      [part.left, part.right] = [Math.min(part.left, x), Math.max(part.right, x + 1)];
      [part.top, part.bottom] = [Math.min(part.top, y), Math.max(part.bottom, y + 1)];
      for (let row = Math.max(0, y - 1); row <= Math.min(height - 1, y + 1); row++) {
        for (let column = Math.max(0, x - 1); column <= Math.min(width - 1, x + 1); column++) {
          const next = row * width + column;
          if (focused[next] && !known[next]) {
            known[next] = 1;
            open.push(next);
          }
        }
      }
    }
    count += part.size;
    parts.push(part);
  }
  if (!count) return { box: null, centre: null };
  const largest = parts.reduce((most, { size }) => Math.max(most, size), 0);
  const kept = parts.filter(({ size }) => size >= speck * largest);
  const end = (key, choose, factor) => round(factor * kept.map(part => part[key]).reduce((a, b) => choose(a, b)));
  const left = end("left", Math.min, across), top = end("top", Math.min, down);
  const right = Math.max(end("right", Math.max, across), left + 1);
  const bottom = Math.max(end("bottom", Math.max, down), top + 1);
  return { box: [left, top, right, bottom], centre: [(sumX / count + 0.5) * across, (sumY / count + 0.5) * down] };
}

function gradientEnergy(grey, sigma) {
  const reach = (round(8 * sigma + 1) | 1) >> 1, { width, height } = grey;
  const weights = Array.from({ length: 2 * reach + 1 }, (_, n) => Math.exp(-((n - reach) ** 2) / (2 * sigma * sigma)));
  const total = weights.reduce((sum, weight) => sum + weight);
  const blurring = side => Array.from({ length: side }, (_, at) =>
    weights.map((weight, n) => [bounced(at + n - reach, side), weight / total]));
  const { data } = resample(grey, 1, width, height, blurring), out = new Float32Array(data.length);
  for (let y = 0; y < height; y++) {
    const above = Math.max(0, y - 1) * width, below = Math.min(height - 1, y + 1) * width;
    for (let x = 0; x < width; x++) {
      const across = data[y * width + Math.min(width - 1, x + 1)] - data[y * width + Math.max(0, x - 1)];
      out[y * width + x] = (across / 2) ** 2 + ((data[below + x] - data[above + x]) / 2) ** 2;
    }
  }
  return { data: out, width, height };
}

// ---------------------------------------------------------------------------------------------------- other sizes

// Which pixels of a side make each pixel of another, as a list of [pixel, weight].
function antialiased(from, to) { // Pillow's BILINEAR
  const scale = from / to, reach = Math.max(1, scale);
  return Array.from({ length: to }, (_, at) => {
    const centre = (at + 0.5) * scale, taps = [];
    const last = Math.min(from, Math.floor(centre + reach + 0.5));
    for (let n = Math.max(0, Math.floor(centre - reach + 0.5)); n < last; n++) {
      taps.push([n, Math.max(0, 1 - Math.abs((n - centre + 0.5) / reach))]);
    }
    const total = taps.reduce((sum, tap) => sum + tap[1], 0);
    return taps.map(([n, weight]) => [n, weight / total]);
  });
}

function linear(from, to) { // OpenCV's INTER_LINEAR
  return between(from, to, share => [[0, 1 - share], [1, share]]);
}

function cubic(from, to) { // OpenCV's INTER_CUBIC
  const near = x => (1.25 * x - 2.25) * x * x + 1, far = x => ((-0.75 * x + 3.75) * x - 6) * x + 3;
  return between(from, to, share =>
    [[-1, far(share + 1)], [0, near(share)], [1, near(1 - share)], [2, far(2 - share)]]);
}

function between(from, to, taps) {
  return Array.from({ length: to }, (_, at) => {
    const place = (at + 0.5) * from / to - 0.5, first = Math.floor(place);
    return taps(place - first).map(([n, weight]) => [Math.min(from - 1, Math.max(0, first + n)), weight]);
  });
}

function area(from, to) { // OpenCV's INTER_AREA, for smaller sizes
  const scale = from / to;
  return Array.from({ length: to }, (_, at) => {
    const [start, end] = [at * scale, Math.min(from, (at + 1) * scale)], taps = [];
    for (let n = Math.floor(start); n < Math.min(from, Math.ceil(end)); n++) {
      taps.push([n, (Math.min(end, n + 1) - Math.max(start, n)) / (end - start)]);
    }
    return taps;
  });
}

function resample({ data, width, height }, channels, newWidth, newHeight, how, rounded) {
  const across = pass(data, how(width, newWidth), height, channels, width * channels, channels);
  return { data: pass(across, how(height, newHeight), 1, newWidth * channels, 0, newWidth * channels),
    width: newWidth, height: newHeight };

  function pass(data, taps, lines, run, line, step) { // runs of `run` numbers, each a weighted sum of runs `step` apart
    const out = new Float32Array(lines * taps.length * run);
    const all = taps.flat(), weights = Float64Array.from(all, tap => tap[1]);
    const places = Int32Array.from(all, tap => tap[0] * step);
    for (let n = 0, to = 0; n < lines; n++) {
      for (let at = 0, first = 0; at < taps.length; at++) {
        const last = first + taps[at].length;
        for (let from = n * line, end = from + run; from < end; from++) {
          let sum = 0;
          for (let t = first; t < last; t++) sum += weights[t] * data[from + places[t]];
          out[to++] = rounded ? rounded(sum) : sum;
        }
        first = last;
      }
    }
    return out;
  }
}

function resizePhoto(photo, width, height) { // as Pillow does it in integers, to the last bit
  if (width === photo.width && height === photo.height) return photo;
  const unit = 2 ** 22, whole = (from, to) =>
    antialiased(from, to).map(taps => taps.map(([n, weight]) => [n, Math.floor(weight * unit + 0.5)]));
  const resized = resample(photo, 3, width, height, whole, sum => Math.floor(sum / unit + 0.5));
  return { ...resized, data: new Uint8Array(resized.data) };
}

function resizeMap(map, width, height) {
  return width === map.width && height === map.height ? map : resample(map, 1, width, height, antialiased);
}

function boxMean({ data, width, height }, reach) { // of squares, the borders mirrored, in one sum that moves along
  const across = pass(data, width, 1, height, width), size = (2 * reach + 1) ** 2;
  return { data: pass(across, height, width, width, 1).map(sum => sum / size), width, height };

  function pass(data, side, step, lines, line) {
    const out = new Float64Array(data.length);
    for (let n = 0; n < lines; n++) {
      const value = place => data[n * line + bounced(place, side) * step];
      let sum = 0;
      for (let place = -reach; place <= reach; place++) sum += value(place);
      for (let place = 0; place < side; place++) {
        out[n * line + place * step] = sum;
        sum += value(place + reach + 1) - value(place - reach);
      }
    }
    return out;
  }
}

function bounced(place, side) { // mirrored, the border itself twice
  const within = (place % (2 * side) + 2 * side) % (2 * side);
  return within < side ? within : 2 * side - 1 - within;
}

export { askWorker, decode, guidedFilter, measure, plain, refine, resizePhoto, turned };
