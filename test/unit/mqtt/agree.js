// Compares the codec with mqtt-packet on generated packets, both ways. Usage: node agree.js CODEC_TOOL [COUNT [SEED]]
// Exit code 77: mqtt-packet is not installed (npm ci in test/).
'use strict';

const { spawnSync } = require('child_process');
const path = require('path');
const assert = require('assert');

let mqtt;
try {
  mqtt = require(path.join(__dirname, '../../node_modules/mqtt-packet'));
} catch (e) {
  console.log('mqtt-packet is not installed');
  process.exit(77);
}

const tool = process.argv[2];
const count = Number(process.argv[3] || 5000);
const seed = Number(process.argv[4] || 1);

// --- what both sides are compared as ---

const absent = {
  connect: { sessionExpiryInterval: 0, receiveMaximum: 65535, topicAliasMaximum: 0, requestResponseInformation: false,
    requestProblemInformation: true },
  connack: { receiveMaximum: 65535, topicAliasMaximum: 0, retainAvailable: true, wildcardSubscriptionAvailable: true,
    subscriptionIdentifiersAvailable: true, sharedSubscriptionAvailable: true },
  will: { willDelayInterval: 0, payloadFormatIndicator: false },
  publish: { payloadFormatIndicator: false },
};

const fields = ['cmd', 'qos', 'dup', 'retain', 'topic', 'payload', 'messageId', 'protocolId', 'protocolVersion', 'clientId',
  'clean', 'keepalive', 'username', 'password', 'sessionPresent', 'returnCode', 'reasonCode', 'granted', 'subscriptions',
  'unsubscriptions'];

function plain(value) {
  return Buffer.isBuffer(value) ? value.toString('hex') : value;
}

function groupPairs(pairs) {
  const groups = new Map();
  for (const [name, value] of pairs) {
    groups.set(name, [...(groups.get(name) || []), value]);
  }
  return [...groups].sort((a, b) => (a[0] < b[0] ? -1 : 1));
}

function pairsOf(object) {
  return Object.entries(object).flatMap(([name, v]) => [].concat(v).map((value) => [name, value]));
}

function canonicalProperties(kind, properties) {
  const result = {};
  for (const [name, value] of Object.entries(properties || {})) {
    if (name === 'userProperties') {
      result[name] = groupPairs(Array.isArray(value) ? value : pairsOf(value));
    } else if (kind === 'publish' && name === 'subscriptionIdentifier') {
      result[name] = [].concat(value);
    } else if (!absent[kind] || absent[kind][name] !== value) {
      result[name] = plain(value);
    }
  }
  return result;
}

function canonical(packet) {
  const result = { properties: canonicalProperties(packet.cmd, packet.properties) };
  for (const name of fields) {
    // mqtt-packet gives every packet the flags of PUBLISH
    const flag = ['qos', 'dup', 'retain'].includes(name);
    if (packet[name] !== undefined && packet[name] !== null && (!flag || packet.cmd === 'publish')) {
      result[name] = plain(packet[name]);
    }
  }
  if (packet.will) {
    const w = packet.will;
    result.will = { topic: w.topic, payload: plain(w.payload), qos: w.qos, retain: w.retain,
      properties: canonicalProperties('will', w.properties) };
  }
  return result;
}

// --- random packets of mqtt-packet ---

let state = seed;
function draw(below) { // mulberry32
  state = (state + 0x6D2B79F5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) % below;
}
const coin = () => draw(2) === 0;
const pick = (list) => list[draw(list.length)];
const letters = ['a', 'Z', '7', ' ', '/', '"', '\\', '$', '\u00e9', '\u4e2d', '\u{1F331}', '\uFEFF', '\u0001', '\u{10FFFF}'];
const text = (least, most) => Array.from({ length: least + draw(most - least + 1) }, () => pick(letters)).join('');
const binary = (most) => Buffer.from(Array.from({ length: draw(most + 1) }, () => draw(256)));
function number(least, most) {
  const n = coin() ? pick([0, 1, 127, 128, 255, 256, 16383, 16384, 65535, 65536, 268435455]) : draw(4294967296);
  return Math.min(most, Math.max(least, coin() && coin() ? most : n));
}
const u16 = (least) => number(least, 65535);
const u32 = (least) => number(least, 4294967295);

function userProperties() {
  const object = Object.create(null);
  for (let n = 1 + draw(3); n > 0; n--) {
    object['k' + text(0, 3)] = coin() ? text(0, 4) : [text(1, 4), text(1, 4)];
  }
  return object;
}

function some(makers) {
  const result = {};
  for (const [name, make] of Object.entries(makers)) {
    if (coin()) {
      result[name] = make();
    }
  }
  return result;
}

const reasonProperties = () => some({ reasonString: () => text(1, 10), userProperties });
const messageMakers = { payloadFormatIndicator: coin, messageExpiryInterval: () => u32(1), contentType: () => text(1, 10),
  responseTopic: () => text(1, 10), correlationData: () => binary(10), userProperties };

function will(v5) {
  const w = { topic: text(1, 10), payload: binary(30), qos: draw(3), retain: coin() };
  if (v5) {
    w.properties = some({ willDelayInterval: () => u32(1), ...messageMakers });
  }
  return w;
}

const auths = { authenticationMethod: () => text(1, 8) };
const makers = {
  connect(v5) {
    const p = { protocolId: 'MQTT', protocolVersion: v5 ? 5 : 4, clientId: text(1, 20), clean: coin(), keepalive: u16(0) };
    if (coin()) {
      p.will = will(v5);
    }
    if (coin()) {
      p.username = text(1, 10);
      p.password = Buffer.concat([Buffer.from([1]), binary(10)]);
    }
    p.properties = some({ sessionExpiryInterval: () => u32(1), receiveMaximum: () => u16(1), maximumPacketSize: () => u32(1),
      topicAliasMaximum: () => u16(1), requestResponseInformation: coin, requestProblemInformation: coin, ...auths,
      userProperties });
    return p;
  },
  connack: (v5) => ({ sessionPresent: false, ...(v5 ? { reasonCode: pick([0, 0x80, 0x87, 0x9F]) } : { returnCode: draw(6) }),
    properties: some({ sessionExpiryInterval: () => u32(1), receiveMaximum: () => u16(1), maximumQoS: () => draw(2),
      retainAvailable: coin, maximumPacketSize: () => u32(1), assignedClientIdentifier: () => text(1, 10),
      topicAliasMaximum: () => u16(1), reasonString: () => text(1, 10), userProperties, wildcardSubscriptionAvailable: coin,
      subscriptionIdentifiersAvailable: coin, sharedSubscriptionAvailable: coin, serverKeepAlive: () => u16(1),
      responseInformation: () => text(1, 10), serverReference: () => text(1, 10), ...auths }) }),
  publish() {
    const qos = draw(3);
    return { topic: text(1, 20), payload: binary(coin() ? 20 : 300), qos, retain: coin(), dup: qos > 0 && coin(),
      ...(qos > 0 ? { messageId: u16(1) } : {}),
      properties: some({ ...messageMakers, topicAlias: () => u16(1), subscriptionIdentifier: () => number(1, 268435455) }) };
  },
  puback: () => ({ messageId: u16(1), reasonCode: pick([0, 0x10, 0x80, 0x97]), properties: reasonProperties() }),
  pubrec: () => ({ messageId: u16(1), reasonCode: pick([0, 0x10, 0x83, 0x99]), properties: reasonProperties() }),
  pubrel: () => ({ messageId: u16(1), reasonCode: pick([0, 0x92]), properties: reasonProperties() }),
  pubcomp: () => ({ messageId: u16(1), reasonCode: pick([0, 0x92]), properties: reasonProperties() }),
  subscribe: (v5) => ({ messageId: u16(1),
    subscriptions: Array.from({ length: 1 + draw(8) }, () => ({ topic: pick(['#', '+', 'a/+/b', '+/#', '\u00e9']), qos: draw(3),
      ...(v5 ? { nl: coin(), rap: coin(), rh: draw(3) } : {}) })),
    properties: some({ subscriptionIdentifier: () => number(1, 268435455), userProperties }) }),
  suback: (v5) => ({ messageId: u16(1), granted: Array.from({ length: 1 + draw(8) }, () => pick(v5 ? [0, 1, 2, 0x87] : [0, 0x80])),
    properties: reasonProperties() }),
  unsubscribe: () => ({ messageId: u16(1), unsubscriptions: Array.from({ length: 1 + draw(8) }, () => text(1, 10)),
    properties: some({ userProperties }) }),
  unsuback: (v5) => ({ messageId: u16(1), ...(v5 ? { granted: [0, 0x11, 0x87] } : {}), properties: reasonProperties() }),
  pingreq: () => ({}),
  pingresp: () => ({}),
  disconnect: () => ({ reasonCode: pick([0, 0x8E]), properties: some({ sessionExpiryInterval: () => u32(1),
    reasonString: () => text(1, 10), serverReference: () => text(1, 10), userProperties }) }),
  auth: () => ({ reasonCode: pick([0x18, 0x19]), properties: { authenticationMethod: text(1, 10),
    ...some({ authenticationData: () => binary(10), reasonString: () => text(1, 10), userProperties }) } }),
};

function generate(v5) {
  const cmd = pick(Object.keys(makers).filter((name) => v5 || name !== 'auth'));
  const packet = { cmd, ...makers[cmd](v5) };
  if (!v5) {
    delete packet.properties;
    if (!['connack'].includes(cmd)) {
      delete packet.reasonCode;
    }
  }
  return packet;
}

// --- the two directions ---

function run(args, input) {
  const r = spawnSync(tool, args, { input, maxBuffer: 1 << 30, encoding: 'utf8' });
  if (r.status !== 0) {
    throw new Error(`${tool} ${args.join(' ')}: ${r.stderr || r.error}`);
  }
  return r.stdout.split('\n').filter((line) => line !== '');
}

function parse(version, bytes) {
  const parser = mqtt.parser({ protocolVersion: version });
  const found = [];
  parser.on('packet', (p) => found.push(p));
  parser.on('error', (e) => { throw e; });
  assert.strictEqual(parser.parse(bytes), 0, 'bytes left over');
  assert.strictEqual(found.length, 1);
  return found[0];
}

function compare(what, expected, actual) {
  try {
    assert.deepStrictEqual(canonical(actual), canonical(expected));
  } catch (e) {
    console.error(`${what}\n${e.message}`);
    process.exit(1);
  }
}

function theirsToOurs() {
  const packets = [];
  for (let i = 0; i < count; i++) {
    const version = i % 2 ? 5 : 4;
    const packet = generate(version === 5);
    packets.push({ version, packet, bytes: mqtt.generate(packet, { protocolVersion: version }) });
  }
  const lines = run(['decode'], packets.map((p) => `${p.version} ${p.bytes.toString('hex')}\n`).join(''));
  assert.strictEqual(lines.length, count);
  packets.forEach((p, i) => compare(`${p.version} ${p.bytes.toString('hex')}`, p.packet, JSON.parse(lines[i])));
}

function oursToTheirs() {
  const lines = run(['generate', String(seed), String(count)]);
  assert.strictEqual(lines.length, count);
  for (const line of lines) {
    const [version, hex] = line.split(' ', 2);
    const json = line.slice(version.length + hex.length + 2);
    compare(`${version} ${hex}`, JSON.parse(json), parse(Number(version), Buffer.from(hex, 'hex')));
  }
}

theirsToOurs();
oursToTheirs();
console.log(`${count} packets of mqtt-packet decoded, ${count} of ours parsed by it: all alike`);
