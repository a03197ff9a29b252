// An MQTT-Auth client written a second time, with nothing but the crypto that
// Node brings along and BigInt for the group: AugPAKE on P-256, the frames, the
// key schedule, a token's presentation. It logs in on MQTT 3.1.1 or 5, shows a
// token, subscribes, publishes, and prints what comes back.
//
// BigInt is not constant time, and Node 20 has no Argon2id: this is to read and
// to test with. The password is a random secret of an account whose verifier was
// made without stretching.
//
//   node login.mjs     one JSON request on standard input: {host, port, version,
//                      user, password, server, clientID, tokens, topic, payload};
//                      one JSON answer: {payload, exported} or {error}
import crypto from 'node:crypto';
import net from 'node:net';
import { pathToFileURL } from 'node:url';

const u8 = n => Buffer.of(n);
const u16 = n => { const b = Buffer.alloc(2); b.writeUInt16BE(n); return b; };
const u32 = n => { const b = Buffer.alloc(4); b.writeUInt32BE(n); return b; };
const u64 = n => { const b = Buffer.alloc(8); b.writeBigUInt64BE(BigInt(n)); return b; };
const v8 = b => Buffer.concat([u8(b.length), b]);
const v16 = b => Buffer.concat([u16(Buffer.byteLength(b)), Buffer.from(b)]);
const hash = (name, ...parts) => crypto.createHash(name).update(Buffer.concat(parts)).digest();
const hmac = (key, ...parts) => crypto.createHmac('sha256', key).update(Buffer.concat(parts)).digest();
const number = b => BigInt('0x' + b.toString('hex'));
const octets = (n, size) => Buffer.from(n.toString(16).padStart(2 * size, '0'), 'hex');

// --- P-256 (SEC 2), affine --------------------------------------------------

const P = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn;
const Q = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const B = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn;
const G = [0x6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296n,
  0x4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5n];

const mod = (a, m) => ((a % m) + m) % m;

function invert(a, m) {
  let [r, s, x, y] = [mod(a, m), m, 1n, 0n];
  while (r > 1n) {
    const q = s / r;
    [s, r, y, x] = [r, s - q * r, x, y - q * x];
  }
  if (r !== 1n) throw new Error('no inverse');
  return mod(x, m);
}

// add adds two points; null is the identity.
function add(a, b) {
  if (!a || !b) return a || b;
  if (a[0] === b[0] && mod(a[1] + b[1], P) === 0n) return null;
  const slope = a[0] === b[0]
    ? (3n * a[0] * a[0] - 3n) * invert(2n * a[1], P)
    : (b[1] - a[1]) * invert(b[0] - a[0], P);
  const x = mod(slope * slope - a[0] - b[0], P);
  return [x, mod(slope * (a[0] - x) - a[1], P)];
}

function multiply(k, point) {
  let sum = null;
  for (let i = 255n; i >= 0n; i--) {
    sum = add(sum, sum);
    if ((k >> i) & 1n) sum = add(sum, point);
  }
  return sum;
}

const encode = ([x, y]) => Buffer.concat([u8(4), octets(x, 32), octets(y, 32)]);

function decode(b) {
  const [x, y] = [number(b.subarray(1, 33)), number(b.subarray(33))];
  if (b.length !== 65 || b[0] !== 4 || x >= P || y >= P || mod(y * y - x * x * x + 3n * x - B, P) !== 0n) {
    throw new Error('not a point of the curve');
  }
  return [x, y];
}

// --- Frames -----------------------------------------------------------------

const HELLO = 1, CHALLENGE = 2, PROOF = 3, WELCOME = 4, REQUEST = 16, RESPONSE = 17;
const P256 = 1;

// fields takes octets apart from the front.
function fields(b) {
  const take = n => {
    if (n > b.length) throw new Error('a frame is too short');
    const field = b.subarray(0, n);
    b = b.subarray(n);
    return field;
  };
  return { take, u8: () => take(1)[0], v16: () => take(take(2).readUInt16BE()), rest: () => take(b.length),
    end: () => { if (b.length) throw new Error('a frame is too long'); } };
}

// Session is one run and what follows from it.
export class Session {
  constructor({ user, password, server, clientID }) {
    Object.assign(this, { user, password, server, clientID, id: crypto.randomBytes(16), counter: 0 });
  }

  frame(type, ...body) { return Buffer.concat([u8(1), u8(type), this.id, ...body]); }

  // open checks a frame's header and returns its fields.
  open(type, b) {
    const f = fields(b);
    if (f.u8() !== 1 || f.u8() !== type || !f.take(16).equals(this.id)) throw new Error('another frame');
    return f;
  }

  hello() {
    this.x = 1n + mod(number(crypto.randomBytes(48)), Q - 1n);
    this.X = encode(multiply(this.x, G));
    return this.frame(HELLO, v8(u8(P256)), v16(this.clientID), v16(this.user), v16(this.X));
  }

  proof(challenge) {
    const f = this.open(CHALLENGE, challenge);
    const [group, server, stretching, Y] = [f.u8(), f.v16().toString(), f.v16(), f.v16()];
    f.end();
    if (group !== P256 || server !== this.server) throw new Error('another group or server');
    if (stretching.length !== 26 || stretching.some(octet => octet !== 0)) throw new Error('this client has no Argon2id');
    const names = Buffer.concat([v16(this.user), v16(this.server)]);
    const context = Buffer.concat([Buffer.from('mqttauth v1'), v8(u8(P256)), this.id, v16(this.clientID)]);
    const transcript = Buffer.concat([names, v16(context), this.X]);
    const w = mod(number(hash('sha512', u8(0), names, Buffer.from(this.password))), Q);
    const r = mod(number(hash('sha256', u8(1), transcript)), Q);
    const z = invert(this.x + w * r, Q);
    const K = encode(multiply(z, decode(Y)));
    this.hashed = tag => hash('sha256', u8(tag), transcript, Y, K);
    return this.frame(PROOF, this.hashed(2));
  }

  // welcome checks that the authority knows the user, and derives the keys.
  welcome(b) {
    const f = this.open(WELCOME, b);
    const [proof, sealed] = [f.take(32), f.v16()];
    f.end();
    if (!crypto.timingSafeEqual(proof, this.hashed(3))) throw new Error('the authority did not prove itself');
    const prk = hmac(this.id, this.hashed(4));
    this.key = label => hmac(prk, Buffer.from('mqttauth v1 ' + label), u8(1));
    const told = fields(this.unseal(WELCOME, 0, sealed));
    told.take(4 + 8);
    this.told = { sessionPresent: (told.u8() & 1) === 1, code: told.u8() };
    return this.told;
  }

  cipher(make, key, type, counter) {
    const aead = make('aes-256-gcm', key, Buffer.concat([u32(0), u64(counter)]));
    aead.setAAD(this.frame(type));
    return aead;
  }

  unseal(type, counter, sealed) {
    const aead = this.cipher(crypto.createDecipheriv, this.key('authority'), type, counter);
    aead.setAuthTag(sealed.subarray(-16));
    return Buffer.concat([aead.update(sealed.subarray(0, -16)), aead.final()]);
  }

  request(operation) {
    const aead = this.cipher(crypto.createCipheriv, this.key('client'), REQUEST, ++this.counter);
    const sealed = Buffer.concat([aead.update(operation), aead.final(), aead.getAuthTag()]);
    return this.frame(REQUEST, u64(this.counter), v16(sealed));
  }

  result(b) {
    const f = this.open(RESPONSE, b);
    const counter = f.take(8).readBigUInt64BE();
    const sealed = f.v16();
    f.end();
    return this.unseal(RESPONSE, counter, sealed);
  }

  // export is HKDF-Expand of at most 32 octets.
  export(label, context, length) {
    return hmac(this.key('exporter'), u16(length), v16(label), v16(context), u8(1)).subarray(0, length);
  }

  // present shows a token, given as its text, to the authority.
  present(text) {
    const t = parseToken(text);
    const proof = hmac(t.secret, u8(0), Buffer.from('mqttauth v1 present'), this.key('binding'));
    return this.request(Buffer.concat([u8(4), u8(1), u8(t.kind), v16(t.claim), v16(t.filter), t.epoch, t.terms, proof]));
  }
}

// parseToken reads "MQTTAUTH:" and base32.
export function parseToken(text) {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
  const bits = [...text.trim().toUpperCase().replace(/^MQTTAUTH:/, '')]
    .map(c => alphabet.indexOf(c).toString(2).padStart(5, '0')).join('');
  const b = Buffer.from(bits.match(/[01]{8}/g).map(octet => parseInt(octet, 2)));
  const [body, sum] = [b.subarray(0, -4), b.subarray(-4)];
  if (!hash('sha256', Buffer.from('mqttauth v1 text'), body).subarray(0, 4).equals(sum)) throw new Error('checksum');
  const f = fields(body);
  if (f.u8() !== 1 || f.u8() !== 1) throw new Error('not a token');
  return { kind: f.u8(), claim: f.v16(), filter: f.v16(), epoch: f.take(4), terms: f.take(8 + 1 + 8), secret: f.take(32), key: f.take(32) };
}

// --- Just enough MQTT -------------------------------------------------------

const CONNECT = 0x10, CONNACK = 0x20, PUBLISH = 0x30, PUBACK = 0x40, SUBSCRIBE = 0x82, SUBACK = 0x90, AUTH = 0xf0;
const METHOD = 0x15, DATA = 0x16; // Authentication Method and Data

function varint(n) {
  const b = [];
  for (; n >= 0x80; n >>= 7) b.push(n & 0x7f | 0x80);
  return Buffer.from([...b, n]);
}

const packet = (type, ...body) => { const b = Buffer.concat(body); return Buffer.concat([u8(type), varint(b.length), b]); };
const authentication = data => {
  const b = Buffer.concat([u8(METHOD), v16('MQTT-Auth'), u8(DATA), v16(data)]);
  return Buffer.concat([varint(b.length), b]);
};

class Client {
  constructor(request) {
    Object.assign(this, request, { five: request.version === 5, buffer: Buffer.alloc(0), waiting: [], queue: [] });
  }

  connect() {
    this.socket = net.connect(this.port, this.host);
    this.socket.on('data', b => { this.buffer = Buffer.concat([this.buffer, b]); this.cut(); });
    this.socket.on('close', () => this.fail(new Error('the connection ended')));
    this.socket.on('error', err => this.fail(err));
  }

  // cut takes whole packets off the stream.
  cut() {
    for (;;) {
      let [length, shift, i] = [0, 0, 1];
      do {
        if (i >= this.buffer.length) return;
        length |= (this.buffer[i] & 0x7f) << shift;
        shift += 7;
      } while (this.buffer[i++] & 0x80);
      if (this.buffer.length < i + length) return;
      const p = { type: this.buffer[0], body: this.buffer.subarray(i, i + length) };
      this.buffer = this.buffer.subarray(i + length);
      const next = this.waiting.shift();
      if (next) next.resolve(p); else this.queue.push(p);
    }
  }

  fail(err) { this.error = err; this.waiting.splice(0).forEach(w => w.reject(err)); }

  next() {
    if (this.queue.length) return Promise.resolve(this.queue.shift());
    if (this.error) return Promise.reject(this.error);
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }

  // expect returns the body of the next packet of a type; acknowledgements in between are passed over.
  async expect(type) {
    for (;;) {
      const p = await this.next();
      if ((p.type & 0xf0) === (type & 0xf0)) return p;
      if ((p.type & 0xf0) !== PUBACK) throw new Error('packet of type ' + (p.type >> 4));
    }
  }

  // data returns the Authentication Data of an AUTH or a CONNACK, whose properties follow skip octets.
  data(body, skip) {
    let at = skip;
    while (body[at++] & 0x80);
    for (const f = fields(body.subarray(at));;) {
      const id = f.u8();
      if (id === DATA) return f.v16();
      if (id === METHOD || id === 0x1f || id === 0x12) f.v16();
      else if (id === 0x11 || id === 0x27) f.take(4);
      else if (id === 0x13 || id === 0x21 || id === 0x22) f.take(2);
      else f.take(1);
    }
  }

  publish(topic, payload, id) {
    return packet(PUBLISH | (id ? 2 : 0), v16(topic), id ? u16(id) : Buffer.alloc(0), this.five ? u8(0) : Buffer.alloc(0), payload);
  }

  // message returns what comes on a topic, acknowledged.
  async message(topic) {
    const p = await this.expect(PUBLISH);
    const f = fields(p.body);
    if (f.v16().toString() !== topic) throw new Error('another topic');
    if (p.type & 6) this.socket.write(packet(PUBACK, f.take(2)));
    if (this.five) f.take(f.u8());
    return f.rest();
  }

  async subscribe(filter, id) {
    this.socket.write(packet(SUBSCRIBE, u16(id), this.five ? u8(0) : Buffer.alloc(0), v16(filter), u8(1)));
    if ((await this.expect(SUBACK)).body.at(-1) >= 0x80) throw new Error('subscription refused');
  }

  // login runs the handshake in the way of the version.
  async login() {
    const s = this.session = new Session(this);
    this.connect();
    const head = [v16('MQTT'), u8(this.version), u8(2), u16(60)];
    const answers = 'mqttauth/c/' + this.clientID;
    if (this.five) {
      this.socket.write(packet(CONNECT, ...head, authentication(s.hello()), v16(this.clientID)));
      const proof = s.proof(this.data((await this.expect(AUTH)).body, 1));
      this.socket.write(packet(AUTH, u8(0x18), authentication(proof)));
      const connack = (await this.expect(CONNACK)).body;
      if (s.welcome(this.data(connack, 2)).code !== connack[1]) throw new Error('CONNACK was changed');
      return;
    }
    this.socket.write(packet(CONNECT, ...head, v16(this.clientID)));
    if ((await this.expect(CONNACK)).body[1] !== 0) throw new Error('refused');
    await this.subscribe(answers, 0xffff);
    this.socket.write(this.publish('mqttauth/auth', s.hello(), 0xfffe));
    this.socket.write(this.publish('mqttauth/auth', s.proof(await this.message(answers)), 0xfffd));
    s.welcome(await this.message(answers));
  }

  async run() {
    await this.login();
    if (this.session.told.code !== 0) throw new Error('refused with code ' + this.session.told.code);
    for (const token of this.tokens) {
      this.socket.write(this.publish('mqttauth/auth', this.session.present(token)));
      const result = this.session.result(await this.message('mqttauth/c/' + this.clientID));
      if (result[0] !== 0 || result[1] !== 0) throw new Error('token refused: ' + result.toString('hex'));
    }
    await this.subscribe(this.topic, 1);
    this.socket.write(this.publish(this.topic, Buffer.from(this.payload), 2));
    const payload = (await this.message(this.topic)).toString();
    this.socket.end(packet(0xe0));
    return { payload, exported: this.session.export('test', 'context', 32).toString('hex') };
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  let input = '';
  for await (const chunk of process.stdin) input += chunk;
  const answer = await new Client(JSON.parse(input)).run().catch(err => ({ error: err.message }));
  console.log(JSON.stringify(answer));
  process.exit(0);
}
