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

/** The API refused; `problem` is its answer (RFC 9457). */
export class ApiError extends Error {
  override readonly name = "ApiError";

  constructor(
    readonly status: number,
    readonly problem: Partial<Problem>,
  ) {
    super(`${problem.detail ?? problem.title ?? "the API refused"} (${problem.code ?? "http-error"}, HTTP ${status})`);
  }
}

/** An event stream was cut and could not be taken up again. */
export class Unreachable extends Error {
  override readonly name = "Unreachable";
}

const ENDED: ReadonlySet<string> = new Set(["job.succeeded", "job.failed", "job.cancelled"]);
const BUSY: ReadonlySet<number> = new Set([429, 502, 503, 504]);
const SAFE: ReadonlySet<string> = new Set(["GET", "HEAD", "PUT", "DELETE"]);
const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 10_000;

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
   * The events of a job, each once and in order, live until it ends. A stream that is cut is taken up where it was.
   *
   * @throws ApiError when there is no such job; Unreachable when the server stays away.
   */
  async *events(jobId: string, options: { after?: number; signal?: AbortSignal } = {}): AsyncGenerator<EventOut> {
    let after = options.after ?? 0;
    let cause: unknown;
    for (let failures = 0; failures < this.#tries; failures += 1) {
      try {
        for await (const event of this.#stream(jobId, after, options.signal)) {
          failures = 0;
          after = event.seq ?? after;
          yield event;
          if (ENDED.has(event.type)) return;
        }
      } catch (error) {
        if (error instanceof ApiError || options.signal?.aborted) throw error;
        cause = error;
      }
      await pause(FIRST_PAUSE * 2 ** failures);
    }
    throw new Unreachable(`the events of ${jobId} after ${after} cannot be read`, { cause });
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

  async #send(given: Request): Promise<Response> {
    const request = this.#authorised(given);
    const repeatable = SAFE.has(request.method) || request.headers.has("Idempotency-Key");
    const fetch = this.#options.fetch ?? globalThis.fetch;
    for (let tried = 1; ; tried += 1) {
      const last = tried >= this.#tries || !repeatable;
      const answer = await fetch(request.clone()).catch((error: unknown) => {
        if (last || request.signal.aborted) throw error;
        return null;
      });
      if (answer !== null && (last || !BUSY.has(answer.status))) return answer;
      await pause(Math.max(FIRST_PAUSE * 2 ** (tried - 1), 1000 * Number(answer?.headers.get("Retry-After") ?? 0)));
    }
  }

  async *#stream(jobId: string, after: number, signal?: AbortSignal): AsyncGenerator<EventOut> {
    const base = this.#options.url.replace(/\/+$/, "");
    const request = new Request(`${base}/api/v1/jobs/${encodeURIComponent(jobId)}/events`, {
      headers: { Accept: "text/event-stream", "Last-Event-ID": String(after) },
      ...(signal ? { signal } : {}),
    });
    const answer = await this.#send(request);
    if (!answer.ok) throw await problemOf(answer);
    let text = "";
    const decoder = new TextDecoder();
    const reader = answer.body?.getReader();
    for (let read = await reader?.read(); read && !read.done; read = await reader?.read()) {
      text += decoder.decode(read.value, { stream: true });
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) if (line.startsWith("data: ")) yield JSON.parse(line.slice(6)) as EventOut;
    }
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
    return new ApiError(response.status, JSON.parse(text) as Partial<Problem>);
  } catch {
    return new ApiError(response.status, { detail: text.slice(0, 200) });
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.min(milliseconds, LONGEST_PAUSE)));
}
