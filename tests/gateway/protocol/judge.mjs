// The other side of the wire, in the language in which Voke is written. Reads lines, answers line by line.
//
//   node judge.mjs KEY canonical   "<JSON text>" (a JSON string)   -> <canonical>\t<telemetry signature>, or !
//   node judge.mjs KEY verify      <kind>\t<message>               -> ok | bad
//   node judge.mjs KEY command     "<JSON text of p>", or ""       -> <signed command>

import {createHmac, timingSafeEqual} from 'node:crypto';
import {readFileSync, writeFileSync} from 'node:fs';

const PLANT = '3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f';
const [key, task] = process.argv.slice(2);

function canonical(value) {
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  const member = (name) => `${JSON.stringify(name)}:${canonical(value[name])}`;
  return `{${Object.keys(value).sort().map(member).join(',')}}`;
}

const sign = (...parts) => createHmac('sha256', key).update(parts.join('|')).digest('hex');

const signed = {
  telemetry: ({ts, n, sig, ...body}) => [ts, n, canonical(body)],
  ack: ({cmdId, ts, st, n}) => [cmdId, ts, st, n],
  alarm: ({ts, n, ev, alarmId, code, sev}) => [ts, n, ev, alarmId, code, sev],
};
signed.info = signed.telemetry;

const tasks = {
  canonical(line) {
    let value;
    try {
      value = JSON.parse(JSON.parse(line));
    } catch {
      return '!';
    }
    const text = canonical(value);
    return `${text}\t${sign(PLANT, 1700000000000, '0123456789abcdef', text)}`;
  },
  verify(line) {
    const tab = line.indexOf('\t');
    const message = JSON.parse(line.slice(tab + 1));
    const expected = Buffer.from(sign(PLANT, ...signed[line.slice(0, tab)](message)));
    const given = Buffer.from(message.sig);
    return given.length === expected.length && timingSafeEqual(given, expected) ? 'ok' : 'bad';
  },
  command(line, index) {
    const text = JSON.parse(line);
    const command = {cmdId: `cmd-${index}`, ts: 1700000000000 + index, type: 'CHARGE'};
    if (text !== '') command.p = JSON.parse(text);
    const p = text === '' ? '' : canonical(command.p);
    command.sig = sign(PLANT, command.cmdId, command.ts, command.type, p);
    return JSON.stringify(command);
  },
};

const lines = readFileSync(0, 'utf8').split('\n').slice(0, -1);
writeFileSync(1, lines.map((line, index) => `${tasks[task](line, index)}\n`).join(''));
