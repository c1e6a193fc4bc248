/**
 * A client of Agora's API for Node 20 and browsers. Paths, queries, bodies and answers are typed by the OpenAPI document
 * (`schema.ts`, which is generated); this file adds what types cannot: credentials, the version that they are of, errors,
 * tries again, the event stream.
 */

import createFetchClient, { type Client, type Middleware } from "openapi-fetch";

import { API_VERSION, type EventOut, type JobIn, type JobOut, type paths, type Problem, type SubmittedOut } from "./schema.js";

export { API_VERSION };
export type * from "./schema.js";

/** How to reach an Agora. */
export interface Options {
  /** Where it is, without a path: `https://agora.example`. */
  readonly url: string;
  /** An API key, or the access token of a user. */
  readonly token: string;
  /** The id of the team that a user acts for; a key has one of its own. */
  readonly team?: string;
  /** How often a call is sent at most, when the server is away or too busy. Writes need an `Idempotency-Key` for that. */
  readonly tries?: number;
  /** What sends requests; the platform's `fetch` unless given. */
  readonly fetch?: (request: Request) => Promise<Response>;
}

/** The API refused; `problem` is its answer (RFC 9457), `retryAfter` after how many seconds it asks to come back. */
export class ApiError extends Error {
  override readonly name = "ApiError";

  constructor(
    readonly status: number,
    readonly problem: Partial<Problem>,
    readonly retryAfter = 0,
  ) {
    super(`${problem.detail ?? problem.title ?? "the API refused"} (${problem.code ?? "http-error"}, HTTP ${status})`);
  }
}

/** An event stream was cut and could not be taken up again. */
export class Unreachable extends Error {
  override readonly name = "Unreachable";
}

const ENDED: ReadonlySet<string> = new Set(["job.succeeded", "job.failed", "job.cancelled"]);
/** Busy, and nothing was done. */
const NOT_DONE: ReadonlySet<number> = new Set([429, 503]);
/** Busy; 502 and 504 are a proxy's, which may have passed the request on. */
const BUSY: ReadonlySet<number> = new Set([...NOT_DONE, 502, 504]);
const READS: ReadonlySet<string> = new Set(["GET", "HEAD"]);
const SAFE: ReadonlySet<string> = new Set([...READS, "PUT", "DELETE"]);
/** What a stream says whose job has ended before it began: there is no need to come again. */
const NO_RETRY = "retry: 86400000";
const FIRST_PAUSE = 0.25;
/** Seconds, of the client's own accord; it rests for longer when it is asked to, up to the following. */
const LONGEST_PAUSE = 10;
const LONGEST_ASKED = 60;

/** Agora's API. `call` is typed by path: `agora.call.GET("/api/v1/jobs/{job_id}", { params: { path: { job_id } } })`. */
export class Agora {
  readonly call: Client<paths>;
  readonly #options: Options;

  constructor(options: Options) {
    this.#options = options;
    this.call = createFetchClient<paths>({
      baseUrl: options.url.replace(/\/+$/, ""),
      fetch: (request) => this.#send(request),
    });
    this.call.use(refusals);
  }

  /**
   * The events of a job, each once and in order, live until it ends. A stream that is cut is taken up where it was,
   * also when the server starts again: five tries take a quarter of a minute.
   *
   * @throws ApiError when there is no such job, or the server stays busy; Unreachable when it stays away.
   */
  async *events(jobId: string, options: { after?: number; signal?: AbortSignal } = {}): AsyncGenerator<EventOut> {
    const { signal } = options;
    let after = options.after ?? 0;
    for (let failures = 0; ; ) {
      try {
        for await (const event of this.#stream(jobId, after, signal)) {
          failures = 0;
          if (event === null) continue;
          after = event.seq ?? after;
          yield event;
        }
        return;
      } catch (error) {
        failures += 1;
        const refused = error instanceof ApiError ? error : null;
        if (signal?.aborted || (refused && !isPassing(BUSY, refused.status, refused.retryAfter))) throw error;
        if (failures >= this.#tries) {
          throw refused ?? new Unreachable(`the events of ${jobId} after ${after} cannot be read`, { cause: error });
        }
        await pause(refused?.retryAfter ?? 0, FIRST_PAUSE * 4 ** (failures - 1), signal);
      }
    }
  }

  /** Submit a job. It is made once however often the call is sent: `idempotencyKey` is what tells it from others. */
  async submit(job: JobIn, idempotencyKey: string = crypto.randomUUID()): Promise<SubmittedOut> {
    const { data } = await this.call.POST("/api/v1/jobs", { body: job, headers: { "Idempotency-Key": idempotencyKey } });
    return data as SubmittedOut;
  }

  /** A job with its steps. */
  async job(jobId: string): Promise<JobOut> {
    const { data } = await this.call.GET("/api/v1/jobs/{job_id}", { params: { path: { job_id: jobId } } });
    return data as JobOut;
  }

  /** Wait for a job's end and return it. */
  async wait(jobId: string, signal?: AbortSignal): Promise<JobOut> {
    for await (const event of this.events(jobId, signal ? { signal } : {})) void event;
    return this.job(jobId);
  }

  get #tries(): number {
    return Math.max(1, this.#options.tries ?? 5);
  }

  #authorised(request: Request): Request {
    const { token, team } = this.#options;
    request.headers.set("Authorization", `Bearer ${token}`);
    // A key may be pinned to another version, and a user's token to none: the types are right for this one only.
    request.headers.set("Agora-Version", API_VERSION);
    if (team !== undefined) request.headers.set("Agora-Team", team);
    return request;
  }

  async #send(given: Request, tries = this.#tries): Promise<Response> {
    const request = this.#authorised(given);
    const repeatable = SAFE.has(request.method) || request.headers.has("Idempotency-Key");
    // An edit that was done, and is sent again, would be told that somebody else came first.
    const again = repeatable && (READS.has(request.method) || !isConditional(request));
    const passing = again ? BUSY : NOT_DONE;
    const fetch = this.#options.fetch ?? globalThis.fetch;
    for (let tried = 1; ; tried += 1) {
      const last = tried >= tries || !repeatable;
      const answer = await fetch(request.clone()).catch((error: unknown) => {
        if (last || !again || request.signal.aborted) throw error;
        return null;
      });
      const asked = answer === null ? 0 : secondsAsked(answer);
      if (answer !== null && (last || !isPassing(passing, answer.status, asked))) return answer;
      await answer?.body?.cancel().catch(() => undefined); // nobody reads it
      await pause(asked, FIRST_PAUSE * 2 ** (tried - 1), request.signal);
    }
  }

  /** The events of a job until it has ended, null whenever the server says that it is still there. Throws when cut. */
  async *#stream(jobId: string, after: number, signal?: AbortSignal): AsyncGenerator<EventOut | null> {
    const base = this.#options.url.replace(/\/+$/, "");
    const request = new Request(`${base}/api/v1/jobs/${encodeURIComponent(jobId)}/events`, {
      headers: { Accept: "text/event-stream", "Last-Event-ID": String(after) },
      ...(signal ? { signal } : {}),
    });
    const answer = await this.#send(request, 1);
    if (!answer.ok) throw await problemOf(answer);
    let text = "";
    const decoder = new TextDecoder();
    const reader = answer.body?.getReader();
    try {
      for (let read = await reader?.read(); read && !read.done; read = await reader?.read()) {
        text += decoder.decode(read.value, { stream: true });
        const lines = text.split("\n");
        text = lines.pop() ?? "";
        for (const line of lines) {
          if (line === NO_RETRY) return;
          if (line.startsWith(":")) yield null;
          if (!line.startsWith("data: ")) continue;
          const event = JSON.parse(line.slice(6)) as EventOut;
          yield event;
          if (ENDED.has(event.type)) return;
        }
      }
    } finally {
      // Whoever leaves early leaves the connection too: the server counts open streams.
      await reader?.cancel().catch(() => undefined);
    }
    throw new Unreachable(`the events of ${jobId} were cut`);
  }
}

/** Turns every refusal into an ApiError, so that `data` of an answer is there. */
const refusals: Middleware = {
  async onResponse({ response }) {
    if (response.status >= 400) throw await problemOf(response);
  },
};

async function problemOf(response: Response): Promise<ApiError> {
  const text = await response.text();
  try {
    return new ApiError(response.status, JSON.parse(text) as Partial<Problem>, secondsAsked(response));
  } catch {
    return new ApiError(response.status, { detail: text.slice(0, 200) }, secondsAsked(response));
  }
}

function isConditional(request: Request): boolean {
  return request.headers.has("If-Match") || request.headers.has("If-None-Match");
}

/** Seconds that a Retry-After header asks for, which may be a date; none for junk, or a time that has passed. */
function secondsAsked(response: Response): number {
  const text = response.headers.get("Retry-After") ?? "";
  if (/^\d+$/.test(text)) return Number(text);
  // `Date.parse` takes nearly anything for a date, such as `-5`.
  if (!/^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/.test(text)) return 0;
  return Math.max(0, Date.parse(text) - Date.now()) / 1000 || 0;
}

/** Whether it may be over soon, and not so late that the caller had better decide: a day's quota is used up, say. */
function isPassing(passing: ReadonlySet<number>, status: number, asked: number): boolean {
  return passing.has(status) && asked <= LONGEST_ASKED;
}

/** Rests for as many seconds as are asked for, or as have grown from try to try. An abort ends it. */
function pause(asked: number, grown: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(
      () => {
        signal?.removeEventListener("abort", stop);
        resolve();
      },
      1000 * Math.max(asked, Math.min(LONGEST_PAUSE, grown)),
    );
    signal?.addEventListener("abort", stop, { once: true });
  });
}
