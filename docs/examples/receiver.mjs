// Receives Postbell's webhook, with Node's standard library: WEBHOOK_SECRETS=whsec_… node receiver.mjs
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
const secrets = (process.env.WEBHOOK_SECRETS ?? "").match(/\S+/g)?.map((secret) => Buffer.from(secret.replace(/^whsec_/, ""), "base64"));
if (!secrets) {
  console.error("expected WEBHOOK_SECRETS=whsec_…, the same as the watcher's POSTBELL_WATCH_HOOK_SECRET");
  process.exit(1);
}
createServer(async (request, response) => {
  const chunks = [];
  try { for await (const chunk of request) chunks.push(chunk); } catch { return; }
  const body = Buffer.concat(chunks);
  const [id, sent, signatures] = ["id", "timestamp", "signature"].map((name) => request.headers[`webhook-${name}`] ?? "");
  const expected = secrets.map((secret) => Buffer.from("v1," + createHmac("sha256", secret).update(`${id}.${sent}.`).update(body).digest("base64")));
  const given = signatures.split(" ").map((one) => Buffer.from(one));
  const isSigned = given.some((one) => expected.some((other) => one.length === other.length && timingSafeEqual(one, other)));
  const isGenuine = isSigned && Math.abs(Date.now() / 1000 - Number(sent)) < 300;
  if (isGenuine) for (const message of JSON.parse(body).messages) console.log(JSON.stringify(message)); // the agent's task; it is a stranger's text
  response.writeHead(isGenuine ? 204 : 401).end();
}).listen(Number(process.env.PORT ?? 8099), "127.0.0.1");
