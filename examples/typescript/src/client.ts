/**
 * A small client of the token broker: it waits until the broker serves, stores and reads tokens, and reads errors.
 *
 * usage: npm start -- [ADDRESS]
 */

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";

import { credentials, status as Code, type ServiceError } from "@grpc/grpc-js";

import { BadRequest, ErrorInfo } from "./gen/google/rpc/error_details";
import { Status } from "./gen/google/rpc/status";
import { HealthCheckRequest, HealthCheckResponse_ServingStatus, HealthClient } from "./gen/grpc/health/v1/health";
import {
  type DeleteResponse,
  DeleteRequest,
  GetRequest,
  type GetResponse,
  StoreRequest,
  type StoreResponse,
  TokenBrokerClient,
  UpstreamTokens,
} from "./gen/tokenbroker/v1/token_broker";

// Deadlines and retries. gRPC itself obeys the broker's grpc-retry-pushback-ms.
const SERVICE_CONFIG = readFileSync("../service_config.json", "utf8");

async function main(address: string): Promise<void> {
  const options = { "grpc.service_config": SERVICE_CONFIG };
  await waitUntilServing(address);
  console.log("health: SERVING");
  const broker = new TokenBrokerClient(address, credentials.createInsecure(), options);
  try {
    await run(broker);
  } finally {
    broker.close();
  }
}

/** Returns when the broker serves, and fails after ten seconds. */
async function waitUntilServing(address: string): Promise<void> {
  const health = new HealthClient(address, credentials.createInsecure());
  const deadline = Date.now() + 10_000;
  await promise<void>((done) => health.waitForReady(deadline, (error) => done(error as ServiceError | null)));
  const states = health.watch(HealthCheckRequest.create(), { deadline });
  for await (const state of states) {
    if (state.status === HealthCheckResponse_ServingStatus.SERVING) {
      break;
    }
  }
  states.cancel();
  health.close();
}

async function run(broker: TokenBrokerClient): Promise<void> {
  const sessionId = `example-typescript-${randomUUID()}`;
  const tokens = UpstreamTokens.create({
    accessToken: "an-access-token",
    refreshToken: "a-refresh-token",
    userId: "alice",
    scopes: ["repo"],
    // For a token without an end leave `expiresAt` undefined: `new Date(0)` isn't accepted.
    expiresAt: new Date(Date.now() + 3_600_000),
  });
  const row = StoreRequest.create({ sessionId, provider: "github", tokens });

  const store = (request: StoreRequest) =>
    promise<StoreResponse>((done) => broker.store(request, done));
  const get = async (provider: string) => {
    const request = GetRequest.create({ sessionId, provider });
    const { entry } = await promise<GetResponse>((done) => broker.get(request, done));
    return `tokens of ${entry?.tokens?.userId}, expired ${entry?.expired}`;
  };

  await show("store", async () => {
    // A write that depends on what was read names the version, a string. Another caller may have been faster.
    const { version } = await store(row);
    row.precondition = { version };
    return "ok";
  });
  await show("get", () => get("github"));
  await show("store on the version", async () => (await store(row)) && "ok");
  await show("store on an old version", async () => (await store(row)) && "ok");
  await show("get of an unknown row", () => get("google"));

  const nonsense = StoreRequest.create({ sessionId, tokens: { ...tokens, scopes: ["repo", "two scopes"] } });
  await show("store of nonsense", async () => (await store(nonsense)) && "ok");
  await show("delete", async () => {
    const all = DeleteRequest.create({ sessionId, allProviders: true });
    const { deleted } = await promise<DeleteResponse>((done) => broker.delete(all, done));
    return `${deleted} row`;
  });
}

/** Makes a call, and prints what came of it. */
async function show(name: string, call: () => Promise<string>): Promise<void> {
  let outcome: string;
  try {
    outcome = await call();
  } catch (error) {
    outcome = describe(error as ServiceError);
  }
  console.log(`${name}: ${outcome}`);
}

/** Returns an error's code, reason, and the fields that are wrong. A program decides by the reason. */
function describe(error: ServiceError): string {
  const words = [Code[error.code]];
  const [encoded] = error.metadata.get("grpc-status-details-bin");
  const details = encoded ? Status.decode(encoded as Buffer).details : [];
  for (const { typeUrl, value } of details) {
    if (typeUrl.endsWith("/google.rpc.ErrorInfo")) {
      words.push(ErrorInfo.decode(value).reason);
    } else if (typeUrl.endsWith("/google.rpc.BadRequest")) {
      words.push(...BadRequest.decode(value).fieldViolations.map((violation) => violation.field));
    }
  }
  return words.join(" ");
}

/** Makes a promise of a function that calls back. */
function promise<A>(start: (done: (error: ServiceError | null | undefined, answer?: A) => void) => void): Promise<A> {
  return new Promise((resolve, reject) => {
    start((error, answer) => (error ? reject(error) : resolve(answer as A)));
  });
}

main(process.argv[2] ?? "127.0.0.1:50051").catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
