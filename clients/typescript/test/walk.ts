/**
 * Walks through the client against a running Agora: `node dist/test/walk.js URL KEY OLD_KEY USER_TOKEN`, the third pinned
 * to the oldest version. What is wrong ends it.
 */

import assert from "node:assert/strict";

import { Agora, API_VERSION, ApiError, type EventJobSucceeded, type WebhookEvent } from "../src/index.js";

const [url, token, oldKey, userToken] = process.argv.slice(2);
assert(url && token && oldKey && userToken, "usage: walk.js URL KEY OLD_KEY USER_TOKEN");
const agora = new Agora({ url, token });

const input = { name: "typescript" };
const submitted = await agora.submit({ agent: "probe", action: "chain", input, metadata: { from: "typescript" } }, "walk-1");
const again = await agora.submit({ agent: "probe", action: "chain", input, metadata: { from: "typescript" } }, "walk-1");
assert.equal(again.id, submitted.id);

const seen: string[] = [];
for await (const event of agora.events(submitted.id)) seen.push(event.type);
assert.equal(seen.at(-1), "job.succeeded");
const job = await agora.wait(submitted.id);
assert.equal(job.status, "succeeded");
assert.deepEqual(job.output, { total: 3 });

// A stream that is cut after each event goes on where it was.
let cuts = 0;
const cutting = new Agora({
  url,
  token,
  fetch: async (request) => {
    const answer = await fetch(request);
    if (!request.url.endsWith("/events") || answer.body === null) return answer;
    cuts += 1;
    const blocks = (await answer.text()).split("\n\n");
    const first = blocks.findIndex((block) => block.includes("data: "));
    return new Response(`${blocks.slice(0, first + 1).join("\n\n")}\n\nid: 99\nda`, answer);
  },
});
const pieces: string[] = [];
for await (const event of cutting.events(submitted.id)) pieces.push(event.type);
assert.deepEqual(pieces, seen);
assert.equal(cuts, seen.length);

// Whoever is busy is asked again, once told how long to wait; a write without a key is not sent twice.
let asked = 0;
const busy = new Agora({
  url,
  token,
  fetch: async (request) => {
    asked += 1;
    return asked < 3 ? new Response("{}", { status: 503, headers: { "Retry-After": "0" } }) : fetch(request);
  },
});
assert.equal((await busy.job(submitted.id)).id, submitted.id);
assert.equal(asked, 3);
asked = 0;
await assert.rejects(busy.call.POST("/api/v1/keys", { body: { name: "once", scopes: ["jobs:read"] } }), { status: 503 });
assert.equal(asked, 1);

await assert.rejects(agora.job("job_00000000000000000000000000"), (error: unknown) => {
  assert(error instanceof ApiError);
  assert.equal(error.status, 404);
  assert.equal(error.problem.code, "not-found");
  return true;
});
await assert.rejects(agora.submit({ agent: "probe", action: "chain", input: { seconds: "many" } }), { status: 422 });
await assert.rejects(new Agora({ url, token: "agora_00000000_nobody" }).job(submitted.id), { status: 401 });

// Whatever the credentials would speak by themselves, answers are of the version that the types are of.
for (const credentials of [token, oldKey, userToken]) {
  const caller: Agora = new Agora({ url, token: credentials });
  const made = await caller.call.POST("/api/v1/keys", { body: { name: "typescript", scopes: ["jobs:read"] } });
  assert.equal(made.response.headers.get("Agora-Version"), API_VERSION);
  assert.match(made.data?.secret ?? "", /^agora_/);
}

/** What a receiver of webhooks does with an event, once its signature is verified. */
function told(event: WebhookEvent): string {
  switch (event.type) {
    case "job.succeeded":
      return `${event.data.job_id} by ${event.data.agent}, see ${event.data.links.self}`;
    case "job.failed":
      return `${event.data.job_id}: ${event.data.error?.code}`;
    case "webhook.endpoint.failing":
      return event.data.links.self;
    default:
      return event.type;
  }
}
const details = await fetch(`${url}/api/v1/event-types/job.succeeded`, { headers: { Authorization: `Bearer ${token}` } });
const { example } = (await details.json()) as { example: EventJobSucceeded };
assert.equal(told(example), `${example.data.job_id} by ${example.data.agent}, see ${example.data.links.self}`);
const { timestamp, data } = example;
assert.equal(told({ type: "agent.noted", timestamp, data: { job_id: data.job_id, step: "look", pages: 3 } }), "agent.noted");

const { data: page } = await agora.call.GET("/api/v1/jobs", { params: { query: { agent: "probe", limit: 1 } } });
assert.equal(page?.items.length, 1);

/** What the compiler must refuse. It is never called. */
export async function refused(): Promise<void> {
  // @ts-expect-error: no such path
  await agora.call.GET("/api/v1/job");
  // @ts-expect-error: an action is missing
  await agora.submit({ agent: "probe", input: {} });
  // @ts-expect-error: no such status
  await agora.call.GET("/api/v1/jobs", { params: { query: { status: ["done"] } } });
  // @ts-expect-error: no such field
  console.log(job.state);
  // @ts-expect-error: no such event
  if (({} as WebhookEvent).type === "job.ended") return;
  // @ts-expect-error: what succeeded has no error
  console.log(({} as EventJobSucceeded).data.error);
}

console.log(`walked: ${seen.join(" ")}`);
