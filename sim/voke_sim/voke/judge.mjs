// The judge: decides whether Voke would take a message, with nothing but JavaScript's own JSON and crypto.
//
// It shares no code with the gateway. One JSON request per line on stdin; "judge" and "sign" are answered
// with one JSON line each, in order; the other requests are not answered.
//
//   {"op": "policy", "replayWindowMs", "signature": "required" | "optional", "topics": {"command", "ack"}}
//   {"op": "register", "plant", "key": base64}         a plant and its HMAC key; again: the key is replaced
//   {"op": "forget", "plant"}
//   {"op": "sign", "plant", "cmdId", "ts", "type", "p"?, "forged"?: "unsigned" | "wrong" | "foreign-key"}
//       → {"topic", "payload": text}; whoever acknowledges a forged command is refused
//   {"op": "judge", "topic", "payload": base64, "at": ms, "retain": bool}
//       → {"ok": true, "plant", "kind", "notes": [[code, subject], …]}
//       → {"ok": false, "plant"?, "kind"?, "reason", "detail"}
//
// Where Voke's documents are silent, the rule is ours and says so.

import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";

const MAX_PAYLOAD_BYTES = 8192;
const MAX_NESTING = 64; // ours: what the Python side and people can still read
const REMEMBERED = 10_000; // commands and alarms per plant
const REMEMBERED_SAMPLES = 64; // sample times per device
const UINT32_MAX = 4_294_967_295;

const policy = { replayWindowMs: 30_000, signature: "required", topics: { command: "command", ack: "ack" } };
const plants = new Map();

// ---- refusals ------------------------------------------------------------------------------------------

class Refusal extends Error {
  constructor(reason, detail) {
    super(detail);
    this.reason = reason;
  }
}

function refuse(reason, detail) {
  throw new Refusal(reason, detail);
}

function demand(condition, detail) {
  if (!condition) refuse("envelope", detail);
}

const shown = (value) => {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
};

// ---- signatures (protocol section 4) -------------------------------------------------------------------

function canonical(value) {
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  return `{${Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join(",")}}`;
}

const digest = (key, parts) => createHmac("sha256", key).update(parts.join("|"), "utf8").digest();

function unsignedBody(document) {
  const { ts, n, sig, ...body } = document;
  return body;
}

const signedParts = {
  telemetry: (plant, d) => [plant, d.ts, d.n, canonical(unsignedBody(d))],
  info: (plant, d) => [plant, d.ts, d.n, canonical(unsignedBody(d))], // ours: as telemetry
  status: (plant, d) => [plant, d.ts, d.n, canonical(unsignedBody(d))], // ours: as telemetry
  ack: (plant, d) => [plant, d.cmdId, d.ts, d.st, d.n],
  alarm: (plant, d) => [plant, d.ts, d.n, d.ev, d.alarmId, d.code, d.sev],
};

function checkSignature(plant, kind, document) {
  if (!Object.hasOwn(document, "sig")) {
    // Nobody documents whether info and status are signed: they may be, and then it has to be right.
    if (kind === "info" || kind === "status" || policy.signature === "optional") return false;
    refuse("unsigned", "sig is missing");
  }
  if (!/^[0-9a-f]{64}$/.test(document.sig)) refuse("signature", "sig is not 64 lowercase hex digits");
  const expected = digest(plant.key, signedParts[kind](plant.id, document));
  if (!timingSafeEqual(expected, Buffer.from(document.sig, "hex"))) refuse("signature", "sig does not verify");
  return true;
}

// ---- replay ---------------------------------------------------------------------------------------------

function checkFreshness(plant, document, at) {
  const age = at - document.ts;
  if (age > policy.replayWindowMs) refuse("stale", `ts is ${age} ms old, the replay window is ${policy.replayWindowMs} ms`);
  if (-age > policy.replayWindowMs) refuse("future", `ts is ${-age} ms ahead, the replay window is ${policy.replayWindowMs} ms`);
  // A nonce is kept until its ts has left the window: after that the same message is stale anyway.
  for (const [nonce, expiry] of plant.nonces) {
    if (expiry >= at) break;
    plant.nonces.delete(nonce);
  }
  const nonce = document.n.toLowerCase();
  if (plant.nonces.has(nonce)) refuse("nonce-reused", `n ${shown(document.n)} was used before`);
  plant.nonces.set(nonce, document.ts + policy.replayWindowMs);
}

// ---- envelopes (protocol section 6) --------------------------------------------------------------------

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isUnixMs = (value) => Number.isInteger(value) && value >= 1e12 && value < 1e13;
const isWord = (value) => typeof value === "string" && value.length > 0 && !value.includes("|");

function demandKeys(object, at, required, optional) {
  for (const key of required) demand(Object.hasOwn(object, key), `${at}${key} is missing`);
  for (const key of Object.keys(object)) {
    demand(required.includes(key) || optional.includes(key), `${at}${key} is not a known key`);
  }
}

function demandReadable(value, at, depth = 0) {
  demand(depth <= MAX_NESTING, `${at} is nested more than ${MAX_NESTING} levels deep`);
  demand(typeof value !== "number" || Number.isFinite(value), `${at} has a number beyond the range of a double`);
  if (value !== null && typeof value === "object") {
    for (const item of Object.values(value)) demandReadable(item, at, depth + 1);
  }
}

function demandHead(document) {
  demand(isUnixMs(document.ts), `ts must be Unix milliseconds, 13 digits, not ${shown(document.ts)}`);
  demand(typeof document.n === "string" && /^[0-9a-fA-F]{8,128}$/.test(document.n), `n must be at least 8 hex digits, not ${shown(document.n)}`);
  if (Object.hasOwn(document, "sig")) demand(typeof document.sig === "string", `sig must be a string, not ${shown(document.sig)}`);
}

function sampleTime(document) {
  const { timestamp } = document;
  if (timestamp === undefined) return document.ts;
  if (isUnixMs(timestamp)) return timestamp;
  const problem = `timestamp must be an ISO-8601 UTC time or Unix milliseconds, not ${shown(timestamp)}`;
  demand(typeof timestamp === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/.test(timestamp), problem);
  const parsed = Date.parse(timestamp);
  // 30 February parses, as 2 March.
  demand(Number.isFinite(parsed) && new Date(parsed).toISOString().slice(0, 19) === timestamp.slice(0, 19), problem);
  return parsed;
}

const DEVICE_TYPES = ["CABINET", "METER", "INVERTER", "BATTERY"];

function demandDevice(device, at) {
  demand(isObject(device), `${at} must be an object, not ${shown(device)}`);
  demandKeys(device, `${at}.`, ["externalId", "type"], ["raw", "values"]);
  demand(typeof device.externalId === "string" && /^[A-Z0-9_-]{1,32}$/.test(device.externalId), `${at}.externalId must match ^[A-Z0-9_-]{1,32}$, not ${shown(device.externalId)}`);
  demand(DEVICE_TYPES.includes(device.type), `${at}.type must be one of ${DEVICE_TYPES.join(", ")}, not ${shown(device.type)}`);
  const hasRaw = Object.hasOwn(device, "raw");
  const hasValues = Object.hasOwn(device, "values");
  demand(!(hasRaw && hasValues), `${at} has both raw and values`);
  if (device.type === "CABINET") {
    demand(hasRaw, `${at}: a CABINET needs raw`);
    demand(Number.isInteger(device.raw) && device.raw >= 0 && device.raw <= UINT32_MAX, `${at}.raw must be an unsigned 32-bit integer, not ${shown(device.raw)}`);
    return;
  }
  demand(hasValues, `${at}: a ${device.type} needs values`);
  demand(isObject(device.values), `${at}.values must be an object, not ${shown(device.values)}`);
  const entries = Object.entries(device.values);
  demand(entries.length > 0, `${at}.values is empty: a device without values is left out`); // ours
  for (const [field, value] of entries) {
    demand(field.length >= 1 && field.length <= 64, `${at}.values: ${shown(field)} must have 1 to 64 characters`);
    const scalar = value === null || ["string", "boolean", "number"].includes(typeof value);
    demand(scalar, `${at}.values.${field} must be a number, string, boolean or null`);
  }
}

const demandEnvelope = {
  telemetry(document) {
    demandHead(document);
    demandKeys(document, "", ["ts", "n", "devices"], ["sig", "timestamp"]);
    sampleTime(document);
    demand(Array.isArray(document.devices), `devices must be an array, not ${shown(document.devices)}`);
    demand(document.devices.length > 0, "devices is empty: without a device there is no message"); // ours
    document.devices.forEach((device, index) => demandDevice(device, `devices[${index}]`));
    const ids = document.devices.map((device) => device.externalId);
    demand(new Set(ids).size === ids.length, "devices has two entries with the same externalId");
  },
  ack(document) {
    demandHead(document);
    demandKeys(document, "", ["cmdId", "st", "ts", "n"], ["sig", "err", "msg"]);
    demand(isWord(document.cmdId), `cmdId must be a non-empty string without |, not ${shown(document.cmdId)}`);
    const states = ["RECEIVED", "IN_PROGRESS", "COMPLETED", "FAILED"];
    demand(states.includes(document.st), `st must be one of ${states.join(", ")}, not ${shown(document.st)}`);
    if (Object.hasOwn(document, "err")) demand(typeof document.err === "string" && document.err !== "", `err must be a non-empty string, not ${shown(document.err)}`);
    if (Object.hasOwn(document, "msg")) demand(typeof document.msg === "string", `msg must be a string, not ${shown(document.msg)}`);
  },
  alarm(document) {
    demandHead(document);
    demandKeys(document, "", ["ts", "n", "ev", "alarmId", "code", "sev"], ["sig", "msg", "detail"]);
    demand(["RAISE", "RESOLVE"].includes(document.ev), `ev must be RAISE or RESOLVE, not ${shown(document.ev)}`);
    demand(isWord(document.alarmId), `alarmId must be a non-empty string without |, not ${shown(document.alarmId)}`);
    demand(Number.isSafeInteger(document.code), `code must be an integer, not ${shown(document.code)}`);
    demand([1, 2, 3].includes(document.sev), `sev must be 1, 2 or 3, not ${shown(document.sev)}`);
    if (Object.hasOwn(document, "msg")) demand(typeof document.msg === "string", `msg must be a string, not ${shown(document.msg)}`);
    if (Object.hasOwn(document, "detail")) demand(isObject(document.detail), `detail must be an object, not ${shown(document.detail)}`);
  },
  info(document) {
    if (["ts", "n", "sig"].some((key) => Object.hasOwn(document, key))) demandHead(document);
  },
  status(document) {
    if (["ts", "n", "sig"].some((key) => Object.hasOwn(document, key))) demandHead(document);
  },
};

// ---- what one message means after another ---------------------------------------------------------------

function remember(map, key, value) {
  map.set(key, value);
  if (map.size > REMEMBERED) map.delete(map.keys().next().value);
}

// The same field names come with nearly every message of a device: one string for all of them.
const fieldLists = new Map();
function fieldList(device) {
  const text = Object.hasOwn(device, "raw") ? "raw" : Object.keys(device.values).join("\n");
  const known = fieldLists.get(text);
  if (known !== undefined) return known;
  if (fieldLists.size > REMEMBERED) fieldLists.clear();
  fieldLists.set(text, text);
  return text;
}

const overlap = (one, other) => one === other || one.split("\n").some((field) => other.split("\n").includes(field));

const inSequence = {
  // A backlog is delivered late and a re-sent message twice; both are right, so they are noted, not refused.
  // Two messages of one sample time that share no field are one snapshot that was split.
  telemetry(plant, document, notes) {
    const time = sampleTime(document);
    if (time > document.ts) notes.push(["timestamp-after-ts", ""]);
    for (const device of document.devices) {
      let history = plant.samples.get(device.externalId);
      if (history === undefined) plant.samples.set(device.externalId, (history = { newest: -Infinity, recent: new Map() }));
      const fields = fieldList(device);
      const before = history.recent.get(time);
      if (before !== undefined && overlap(before, fields)) notes.push(["duplicate-sample", device.externalId]);
      else if (before === undefined && time < history.newest) notes.push(["out-of-order", device.externalId]);
      history.newest = Math.max(history.newest, time);
      history.recent.set(time, before === undefined || before === fields ? fields : `${before}\n${fields}`);
      if (history.recent.size > REMEMBERED_SAMPLES) history.recent.delete(history.recent.keys().next().value);
    }
  },

  // RECEIVED → IN_PROGRESS → COMPLETED or FAILED; FAILED may come from any state, so that a command can be
  // turned down at once. Repeating the present state is at-least-once delivery; going back is not, because
  // Voke shows the latest ack as the command's status. A terminal outcome never changes.
  ack(plant, document, notes) {
    const command = plant.commands.get(document.cmdId);
    if (command === undefined) refuse("ack-unknown-command", `no command ${shown(document.cmdId)} was sent to this plant`);
    if (command.forged) refuse("ack-forged-command", `command ${shown(document.cmdId)} was not signed by Voke: silence is the only answer`);
    const { st } = document;
    const now = command.state;
    if (now === st) {
      if (command.err !== document.err) refuse("ack-changed-outcome", `the outcome was ${now} ${shown(command.err)}, now err is ${shown(document.err)}`);
      notes.push(["ack-repeated", document.cmdId]);
      return;
    }
    if (now === "COMPLETED" || now === "FAILED") {
      if (st === "COMPLETED" || st === "FAILED") refuse("ack-changed-outcome", `the outcome was ${now}, now it is ${st}`);
      refuse("ack-order", `${st} after ${now}`);
    }
    const next = { undefined: ["RECEIVED", "FAILED"], RECEIVED: ["IN_PROGRESS", "FAILED"], IN_PROGRESS: ["COMPLETED", "FAILED"] };
    if (!next[now].includes(st)) refuse("ack-order", `${st} after ${now ?? "nothing"}`);
    command.state = st;
    command.err = document.err;
  },

  // An alarmId is one instance: RAISE, then RESOLVE with the same code and severity, each as often as
  // delivery needs, and nothing after that.
  alarm(plant, document, notes) {
    const { alarmId, ev, code, sev } = document;
    const alarm = plant.alarms.get(alarmId);
    if (alarm === undefined) {
      if (ev === "RESOLVE") refuse("alarm-order", `RESOLVE of alarm ${shown(alarmId)}, which was never raised`);
      remember(plant.alarms, alarmId, { code, sev, ev });
      return;
    }
    if (alarm.code !== code || alarm.sev !== sev) {
      refuse("alarm-changed", `alarm ${shown(alarmId)} had code ${alarm.code} and sev ${alarm.sev}, now ${code} and ${sev}`);
    }
    if (alarm.ev === ev) notes.push(["alarm-repeated", alarmId]);
    else if (ev === "RAISE") refuse("alarm-order", `RAISE of alarm ${shown(alarmId)} after its RESOLVE: a new instance needs a new id`);
    alarm.ev = ev;
  },

  info() {},
  status() {},
};

// ---- one message -----------------------------------------------------------------------------------------

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function parse(payload) {
  let text;
  try {
    text = utf8.decode(payload);
  } catch {
    refuse("encoding", "the payload is not UTF-8");
  }
  let document;
  try {
    document = JSON.parse(text);
  } catch (error) {
    refuse("json", error.message);
  }
  demand(isObject(document), `the message must be an object, not ${shown(document)}`);
  demandReadable(document, "the message");
  return document;
}

function kindOf(suffix) {
  if (suffix === policy.topics.ack) return "ack";
  return ["telemetry", "alarm", "info", "status"].includes(suffix) ? suffix : undefined;
}

function judge({ topic, payload, at, retain }) {
  const match = /^cpi\/([^/]+)\/(.+)$/.exec(topic);
  const id = match?.[1];
  const kind = match === null ? undefined : kindOf(match[2]);
  try {
    if (kind === undefined) refuse("topic", `${shown(topic)} is not a topic that plants publish on`);
    const plant = plants.get(id);
    if (plant === undefined) refuse("unknown-plant", `plant ${shown(id)} is not registered`);
    const bytes = Buffer.from(payload, "base64");
    if (bytes.length > MAX_PAYLOAD_BYTES) refuse("size", `${bytes.length} bytes, the limit is ${MAX_PAYLOAD_BYTES}`);
    if (retain && kind !== "info" && kind !== "status") refuse("retained", `${kind} must not be retained`);
    if (!retain && kind === "info") refuse("not-retained", "info must be retained");
    const document = parse(bytes);
    demandEnvelope[kind](document);
    const notes = [];
    // A nonce counts only after the signature: otherwise anybody could use up a plant's nonces.
    if (!checkSignature(plant, kind, document)) notes.push(["unsigned", ""]);
    if (document.ts !== undefined) checkFreshness(plant, document, at);
    inSequence[kind](plant, document, notes);
    return { ok: true, plant: id, kind, notes };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return { ok: false, plant: id, kind, reason: error.reason, detail: error.message };
  }
}

// ---- requests --------------------------------------------------------------------------------------------

function sign({ plant: id, cmdId, ts, type, p, forged }) {
  const plant = plants.get(id);
  if (plant === undefined) return { error: `plant ${shown(id)} is not registered` };
  const command = { cmdId, ts, type, p };
  const key = forged === "foreign-key" ? randomBytes(32) : plant.key;
  const sig = digest(key, [id, cmdId, ts, type, canonical(p)]);
  if (forged === "wrong") sig[0] ^= 1;
  if (forged !== "unsigned") command.sig = sig.toString("hex");
  const known = plant.commands.get(cmdId);
  // Sent again with the same id, the acks of both are one story.
  if (known === undefined) remember(plant.commands, cmdId, { forged: forged !== undefined });
  else known.forged &&= forged !== undefined;
  return { topic: `cpi/${id}/${policy.topics.command}`, payload: JSON.stringify(command) };
}

function register({ plant: id, key }) {
  const secret = Buffer.from(key, "base64");
  const plant = plants.get(id);
  if (plant !== undefined) plant.key = secret;
  else plants.set(id, { id, key: secret, nonces: new Map(), samples: new Map(), commands: new Map(), alarms: new Map() });
}

const operations = {
  judge,
  sign,
  register,
  forget: ({ plant }) => void plants.delete(plant),
  policy: ({ op, ...changes }) => void Object.assign(policy, changes),
};

let unfinished = "";
process.stdin.setEncoding("utf8");
process.stdin.on("data", (chunk) => {
  const lines = (unfinished + chunk).split("\n");
  unfinished = lines.pop();
  let answers = "";
  for (const line of lines) {
    const request = JSON.parse(line);
    const answer = operations[request.op](request);
    if (answer !== undefined) answers += `${JSON.stringify(answer)}\n`;
  }
  if (answers !== "") process.stdout.write(answers);
});
