// Sealed MQTT payloads, version 1, suite 1 (XAES-256-GCM), written a second
// time with nothing but the crypto that Node brings along: something to copy
// from when a device or a service in another language has to take part.
//
// It has no replay window: a receiver that needs one keeps the sequence
// numbers it has seen, per key id and session, and refuses the rest.
//
//   node sealed.mjs     one JSON request a line in, one JSON answer a line out;
//                       bytes are hexadecimal
import crypto from 'node:crypto';
import readline from 'node:readline';
import { pathToFileURL } from 'node:url';

const MAGIC = 0xfc, SUITE_AES = 1, SUITE = 0x70; // the suite's bits in byte 1, between the flags
export const RETAIN = 1, WILL = 2, PROPERTIES = 4, SIGNED = 8, QOS0 = 0x80; // flags
const HEADER = 26, TAG = 16, SIGNATURE = 4 + 64;

const u16 = n => { const b = Buffer.alloc(2); b.writeUInt16BE(n); return b; };
const hmac = (key, data) => crypto.createHmac('sha256', key).update(data).digest();

// --- Keys -------------------------------------------------------------------

// matches is MQTT's own rule (4.7): + is one level, # all that follow and the
// level above, and neither finds a leading $ at the front.
export function matches(filter, topic) {
  const f = filter.split('/'), t = topic.split('/');
  if (topic.startsWith('$') && (f[0] === '+' || f[0] === '#')) return false;
  for (let i = 0; i < f.length; i++) {
    if (f[i] === '#') return true;
    if (i >= t.length) return false;
    if (f[i] !== '+' && f[i] !== t[i]) return false;
  }
  return f.length === t.length;
}

const levels = name => name.split('/');
const wild = level => level === '+' || level === '#';

// prefix is the levels of a filter before its first wildcard.
const prefix = filter => levels(filter).slice(0, [...levels(filter), '#'].findIndex(wild));

const walk = (node, names) => names.reduce((n, level) => hmac(n, Buffer.from(level)), node);

// topicKeys walks from the secret of a key {filter, secret} down to one topic.
// Who has a node of that tree has everything below it and nothing beside it.
export function topicKeys({ filter, secret }, topic) {
  if (topic === '' || /[+#\0]/.test(topic)) throw new Error('topic name');
  if (!matches(filter, topic)) throw new Error('no key');
  const node = walk(secret, levels(topic).slice(prefix(filter).length));
  const leaf = (...label) => hmac(node, Buffer.concat([Buffer.of(0), ...label.map(l => Buffer.from(l))]));
  return { key: leaf('mqttsec v1 aes'), id: leaf('mqttsec v1 id', [SUITE_AES]).subarray(0, 4) };
}

// subKey is the key of a branch: a filter that reaches no further than the
// key's own and has more levels before its first wildcard.
export function subKey({ filter, secret }, branch) {
  const [above, names] = [prefix(filter), prefix(branch)];
  const deeper = levels(branch).length > levels(filter).length || branch.endsWith('#');
  if (names.length <= above.length || !matches(filter, names.join('/')) || (deeper && !filter.endsWith('#'))) {
    throw new Error('not a branch of the key');
  }
  return { filter: branch, secret: walk(secret, names.slice(above.length)) };
}

// A key's text is mqttsec: and the base32 (RFC 4648, no padding) of
// 1 ‖ secret[32] ‖ filter ‖ the start of SHA-256('mqttsec v1 key' ‖ those)[4].
const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
const checksum = b => crypto.createHash('sha256').update('mqttsec v1 key').update(b).digest().subarray(0, 4);

export function keyText({ filter, secret }) {
  const body = Buffer.concat([Buffer.of(1), secret, Buffer.from(filter)]);
  let bits = [...body, ...checksum(body)].map(byte => byte.toString(2).padStart(8, '0')).join('');
  bits = bits.padEnd(Math.ceil(bits.length / 5) * 5, '0');
  return 'mqttsec:' + bits.match(/.{5}/g).map(five => BASE32[parseInt(five, 2)]).join('');
}

export function parseKey(text) {
  text = text.trim().toUpperCase();
  if (!/^MQTTSEC:[A-Z2-7]+$/.test(text)) throw new Error('not a key');
  const bits = [...text.slice(8)].map(c => BASE32.indexOf(c).toString(2).padStart(5, '0')).join('');
  const b = Buffer.from((bits.match(/.{8}/g) ?? []).map(eight => parseInt(eight, 2)));
  const body = b.subarray(0, -4);
  if (body.length < 34 || body[0] !== 1 || !checksum(body).equals(b.subarray(-4))) throw new Error('not a key');
  return { filter: body.subarray(33).toString(), secret: body.subarray(1, 33) };
}

// --- XAES-256-GCM (C2SP) ----------------------------------------------------

// xaesKey derives the AES-256-GCM key for all nonces that begin with these 12
// bytes: two blocks of CMAC in counter mode.
export function xaesKey(key, prefix) {
  const aes = block => {
    const c = crypto.createCipheriv('aes-256-ecb', key, null).setAutoPadding(false);
    return Buffer.concat([c.update(block), c.final()]);
  };
  const l = aes(Buffer.alloc(16)), k1 = Buffer.alloc(16);
  for (let i = 0; i < 16; i++) k1[i] = (l[i] << 1) | (i < 15 ? l[i + 1] >> 7 : 0);
  if (l[0] & 0x80) k1[15] ^= 0x87;
  const half = counter => {
    const block = Buffer.concat([Buffer.of(0, counter, 0x58, 0), prefix]); // 0x58 is X
    return aes(block.map((byte, i) => byte ^ k1[i]));
  };
  return Buffer.concat([half(1), half(2)]);
}

const nonce = header => Buffer.concat([Buffer.alloc(4), header.subarray(18, 26)]);
const associated = (header, topic) => Buffer.concat([Buffer.from('mqttsec v1'), header, Buffer.from(topic)]);

// --- Signatures -------------------------------------------------------------

const signedText = (header, topic, rest) => Buffer.concat([
  Buffer.from('mqttsec v1 signature'), header, u16(Buffer.byteLength(topic)), Buffer.from(topic), rest]);
const hint = pub => crypto.createHash('sha256').update(pub).digest().subarray(0, 4);
const jwk = (pub, seed) => ({ kty: 'OKP', crv: 'Ed25519', x: pub.toString('base64url'), ...(seed && { d: seed.toString('base64url') }) });
const publicKey = pub => crypto.createPublicKey({ key: jwk(pub), format: 'jwk' });

// privateKey takes the 64 bytes that Go calls a private key: seed and public key.
const privateKey = k => crypto.createPrivateKey({ key: jwk(k.subarray(32), k.subarray(0, 32)), format: 'jwk' });

// --- Messages ---------------------------------------------------------------

// varint reads one of MQTT's variable-length numbers: [value, bytes it took].
function varint(b) {
  let value = 0;
  for (let i = 0; i < 4 && i < b.length; i++) {
    value += (b[i] & 0x7f) * 2 ** (7 * i);
    if (b[i] < 0x80) return [value, i + 1];
  }
  throw new Error('malformed');
}

function putVarint(n) {
  const out = [];
  do { out.push((n % 128) | (n >= 128 ? 0x80 : 0)); n = Math.floor(n / 128); } while (n > 0);
  return Buffer.from(out);
}

// seal makes the payload to publish. session is 12 random bytes that this
// sender draws anew when it starts, seq counts up from 1 within it and must
// never repeat, time is in Unix seconds. QOS0 among the flags says that it is
// published at QoS 0, so that no receiver takes it twice. properties are MQTT v5 properties as
// they are encoded in a packet; signer is an Ed25519 private key, 64 bytes.
export function seal({ key, topic, payload, session, time, seq, flags = 0, properties, signer }) {
  const { key: leaf, id } = topicKeys(key, topic);
  if (properties) flags |= PROPERTIES;
  if (signer) flags |= SIGNED;
  const header = Buffer.alloc(HEADER);
  header[0] = MAGIC;
  header[1] = SUITE_AES << 4 | flags;
  id.copy(header, 2);
  session.copy(header, 6);
  header.writeUInt32BE(time, 18);
  header.writeUInt32BE(seq, 22);

  let plain = properties ? Buffer.concat([putVarint(properties.length), properties, payload]) : payload;
  if (signer) {
    const signature = crypto.sign(null, signedText(header, topic, plain), privateKey(signer));
    plain = Buffer.concat([hint(signer.subarray(32)), signature, plain]);
  }
  const gcm = crypto.createCipheriv('aes-256-gcm', xaesKey(leaf, session), nonce(header));
  gcm.setAAD(associated(header, topic));
  return Buffer.concat([header, gcm.update(plain), gcm.final(), gcm.getAuthTag()]);
}

// open undoes seal, or throws. publishers, when given, are the Ed25519 public
// keys one of which must have signed.
export function open({ key, topic, frame, publishers }) {
  if (frame[0] !== MAGIC) throw new Error('not sealed');
  const header = frame.subarray(0, HEADER), flags = header[1] & ~SUITE;
  if (frame.length < HEADER + (flags & SIGNED ? SIGNATURE : 0) + TAG || (frame[1] & SUITE) >> 4 !== SUITE_AES) throw new Error('malformed');
  const [time, seq] = [header.readUInt32BE(18), header.readUInt32BE(22)];
  if (seq === 0 || (flags & WILL && seq !== 1)) throw new Error('malformed'); // a Will has a session to itself
  const { key: leaf, id } = topicKeys(key, topic);
  if (!id.equals(header.subarray(2, 6))) throw new Error('unknown key');

  const session = header.subarray(6, 18), end = frame.length - TAG;
  const gcm = crypto.createDecipheriv('aes-256-gcm', xaesKey(leaf, session), nonce(header), { authTagLength: TAG });
  gcm.setAAD(associated(header, topic));
  gcm.setAuthTag(frame.subarray(end));
  let plain = gcm.update(frame.subarray(HEADER, end));
  try { gcm.final(); } catch { throw new Error('authentication'); }

  const message = { flags, session, time, seq };
  if (flags & SIGNED) {
    const [who, signature, rest] = [plain.subarray(0, 4), plain.subarray(4, SIGNATURE), plain.subarray(SIGNATURE)];
    message.signer = (publishers ?? []).find(pub => hint(pub).equals(who) &&
      crypto.verify(null, signedText(header, topic, rest), publicKey(pub), signature));
    plain = rest;
  }
  if (publishers?.length && !message.signer) throw new Error('authentication');
  if (flags & PROPERTIES) {
    const [length, n] = varint(plain);
    if (plain.length < n + length) throw new Error('malformed');
    message.properties = plain.subarray(n, n + length);
    plain = plain.subarray(n + length);
  }
  return { ...message, payload: plain };
}

// --- One request a line, one answer a line ----------------------------------

const bytes = hex => hex === undefined ? undefined : Buffer.from(hex, 'hex');
const plain = object => Object.fromEntries(Object.entries(object).map(
  ([name, value]) => [name, Buffer.isBuffer(value) ? value.toString('hex') : value]));

const requests = {
  keys: r => topicKeys(parseKey(r.key), r.topic),
  sub: r => ({ key: keyText(subKey(parseKey(r.key), r.filter)) }),
  seal: r => ({ frame: seal({
    key: parseKey(r.key), topic: r.topic, payload: bytes(r.payload), session: bytes(r.session), time: r.time,
    seq: r.seq, flags: r.flags, properties: bytes(r.properties), signer: bytes(r.signer) }) }),
  open: r => open({
    key: parseKey(r.key), topic: r.topic, frame: bytes(r.frame), publishers: r.publishers?.map(bytes) }),
};

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let answer;
    try {
      const request = JSON.parse(line);
      answer = plain(requests[request.do](request));
    } catch (e) {
      answer = { error: e.message };
    }
    console.log(JSON.stringify(answer));
  }
}
