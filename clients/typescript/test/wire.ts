/**
 * What the client does with servers that are busy, lost, or stream: `node --test dist/test/wire.js`, against a
 * server of its own on loopback, or none.
 */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as rest } from "node:timers/promises";
import test, { type TestContext } from "node:test";

import { Agora, ApiError, type Options, Unreachable } from "../src/index.js";

const token = "agora_key";
const url = "http://agora.test";
const STREAM = { "Content-Type": "text/event-stream" };
const ALIVE = ": still here\n\n";
const event = (seq: number, type = "job.progressed"): string =>
  `id: ${seq}\ndata: ${JSON.stringify({ seq, type })}\n\n`;
const streamed = (...parts: string[]): Response =>
  new Response(`retry: 1000\n\n${parts.join("")}`, { headers: STREAM });
const busy = (status: number, after?: string): Response =>
  new Response("{}", { status, ...(after === undefined ? {} : { headers: { "Retry-After": after } }) });
const lost = (): never => {
  throw new TypeError("fetch failed");
};

interface Scripted {
  readonly agora: Agora;
  readonly asked: Request[];
  readonly pauses: number[];
}

/** A client whose requests are answered by these, one after the other, and whose pauses are noted and not made. */
function scripted(context: TestContext, answers: (() => Response)[], options: Partial<Options> = {}): Scripted {
  const asked: Request[] = [];
  const pauses: number[] = [];
  const { setTimeout: real } = globalThis;
  context.mock.method(globalThis, "setTimeout", (call: () => void, milliseconds: number) => {
    pauses.push(milliseconds);
    return real(call, 0);
  });
  const fetch = async (request: Request): Promise<Response> => {
    asked.push(request);
    const answer = answers.shift();
    assert(answer, "one request too many");
    return answer();
  };
  return { agora: new Agora({ url, token, fetch, ...options }), asked, pauses };
}

async function serving(context: TestContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, "127.0.0.1");
  await once(server, "listening");
  context.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function read(agora: Agora, after = 0): Promise<number[]> {
  const found: number[] = [];
  for await (const one of agora.events("job_1", { after })) found.push(one.seq ?? 0);
  return found;
}

const share = (agora: Agora, header: Record<string, string>): Promise<unknown> =>
  agora.call.PUT("/api/v1/projects/{project_id}/shares/{with_team_id}", {
    params: { path: { project_id: "prj_1", with_team_id: "team_2" }, header },
    body: { access: "read" },
  });

test("whoever leaves a stream early leaves its connection", async (context) => {
  let open = 0;
  const at = await serving(context, (_, answer) => {
    open += 1;
    answer.writeHead(200, STREAM).write(event(1));
    const speaking = setInterval(() => answer.write(ALIVE), 10);
    answer.on("close", () => {
      clearInterval(speaking);
      open -= 1;
    });
  });
  const agora = new Agora({ url: at, token });
  for await (const one of agora.events("job_1")) {
    assert.equal(one.seq, 1);
    assert.equal(open, 1);
    break;
  }
  await assert.rejects(async () => {
    for await (const one of agora.events("job_1")) throw new Error(one.type);
  }, /job.progressed/);
  for (const deadline = Date.now() + 5_000; open > 0; await rest(10)) assert(Date.now() < deadline, "a stream is open");
});

test("an edit with a condition is not sent again when its connection is lost", async (context) => {
  const methods: string[] = [];
  const at = await serving(context, (request, answer) => {
    methods.push(request.method ?? "");
    if (methods.length === 1) request.socket.destroy();
    else answer.writeHead(412).end(JSON.stringify({ detail: "there is one already" }));
  });
  await assert.rejects(share(new Agora({ url: at, token }), { "If-None-Match": "*" }), TypeError);
  assert.deepEqual(methods, ["PUT"]);
});

test("nor when a proxy may have passed it on, but when nothing was done", async (context) => {
  const { agora, asked } = scripted(context, [() => busy(504), () => busy(503), () => busy(429), () => busy(412)]);
  await assert.rejects(share(agora, { "If-Match": '"5f2c"' }), { status: 504 });
  assert.equal(asked.length, 1);
  await assert.rejects(share(agora, { "If-Match": '"5f2c"' }), { status: 412 });
  assert.equal(asked.length, 4);
});

test("reads are sent again whatever their condition, and edits that have none", async (context) => {
  const answers = [lost, () => busy(504), () => new Response("{}"), lost, () => busy(502), () => new Response("{}")];
  const { agora, asked } = scripted(context, answers);
  const header = { "If-None-Match": '"5f2c"' };
  await agora.call.GET("/api/v1/jobs/{job_id}", { params: { path: { job_id: "job_1" }, header } });
  await share(agora, {});
  assert.deepEqual(asked.map((one) => one.method), ["GET", "GET", "GET", "PUT", "PUT", "PUT"]);
});

test("it rests for as long as it is asked to, in seconds or until a date", async (context) => {
  const soon = new Date(Date.now() + 30_000).toUTCString();
  const past = new Date(Date.now() - 30_000).toUTCString();
  const given = ["42", soon, past, "-5"].map((after) => () => busy(503, after));
  const { agora, pauses } = scripted(context, [...given, () => new Response("{}")]);
  await agora.job("job_1");
  const [seconds, date, ...others] = pauses;
  assert.equal(seconds, 42_000);
  assert(date !== undefined && date > 25_000 && date <= 30_000, `${date}`);
  assert.deepEqual(others, [1_000, 2_000]);
});

test("it does not wait for more than a minute", async (context) => {
  const late = new Date(Date.now() + 86_400_000).toUTCString();
  const { agora, asked, pauses } = scripted(context, [() => busy(429, "61"), () => busy(503, late)]);
  await assert.rejects(agora.job("job_1"), { status: 429 });
  await assert.rejects(agora.job("job_1"), { status: 503 });
  assert.deepEqual([asked.length, pauses], [2, []]);
});

test("an abort ends a rest", async () => {
  const leaving = new AbortController();
  const fetch = async (): Promise<Response> => {
    setImmediate(() => leaving.abort(new Error("left")));
    return busy(503, "60");
  };
  const began = Date.now();
  const agora = new Agora({ url, token, fetch });
  await assert.rejects(agora.wait("job_1", leaving.signal), /left/);
  assert(Date.now() - began < 20_000);
});

test("a stream is resumed where it was cut, also while nobody is there", async (context) => {
  const answers = [() => streamed(event(1), event(2).slice(0, -20)), lost, () => busy(503, "7")];
  const { agora, asked, pauses } = scripted(context, [...answers, () => streamed(event(2), event(3, "job.succeeded"))]);
  assert.deepEqual(await read(agora), [1, 2, 3]);
  assert.deepEqual(asked.map((one) => one.headers.get("Last-Event-ID")), ["0", "1", "1", "1"]);
  assert.deepEqual(pauses, [250, 1_000, 7_000]);
});

test("a stream that is refused says why, and one that is always cut is unreachable", async (context) => {
  const refused = scripted(context, [() => streamed(event(1)), () => busy(401)]);
  await assert.rejects(read(refused.agora), (error) => error instanceof ApiError && error.status === 401);
  context.mock.restoreAll();
  const cut = scripted(context, Array.from({ length: 5 }, () => () => streamed()));
  await assert.rejects(read(cut.agora), Unreachable);
  assert.deepEqual(cut.pauses, [250, 1_000, 4_000, 10_000]);
});

test("a server that stays busy is given up with what it said", async (context) => {
  const away = Array.from({ length: 5 }, () => () => busy(502));
  const { agora, asked } = scripted(context, [...away, () => busy(429, "86400")]);
  await assert.rejects(read(agora), { status: 502 });
  assert.equal(asked.length, 5);
  await assert.rejects(read(agora), { status: 429, retryAfter: 86_400 });
  assert.equal(asked.length, 6);
});

test("a stream whose server says that it is still there is not given up", async (context) => {
  const quiet = Array.from({ length: 12 }, () => () => streamed(ALIVE));
  const { agora } = scripted(context, [...quiet, () => streamed(event(1, "job.failed"))]);
  assert.deepEqual(await read(agora), [1]);
});

test("a stream that says not to come again has ended", async (context) => {
  const over = "retry: 1000\n\nretry: 86400000\n\n";
  const { agora, asked, pauses } = scripted(context, [() => new Response(over, { headers: STREAM })]);
  assert.deepEqual(await read(agora, 3), []);
  assert.deepEqual([asked.length, pauses], [1, []]);
});
