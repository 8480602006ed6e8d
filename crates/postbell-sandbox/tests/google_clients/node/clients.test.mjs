// Google's Node clients against the sandbox at $SANDBOX_URL: see scripts/google-clients.
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { PubSub } from "@google-cloud/pubsub";
import { gmail as gmailApi } from "@googleapis/gmail";
import { OAuth2Client } from "google-auth-library";

const url = process.env.SANDBOX_URL;
const project = "sandbox-project";
const email = "node@example.com";

async function control(path, options = {}) {
  const answer = await fetch(`${url}/sandbox/${path}`, { method: "POST", ...options });
  assert.ok(answer.ok, `${path}: ${answer.status}`);
  return answer;
}

async function client() {
  const grant = await (await control(`mailboxes/${email}/grant`)).json();
  const endpoints = { oauth2TokenUrl: `${url}/token`, oauth2RevokeUrl: `${url}/revoke`, tokenInfoUrl: `${url}/tokeninfo` };
  const auth = new OAuth2Client({ clientId: grant.client_id, clientSecret: grant.client_secret, endpoints });
  auth.setCredentials({ refresh_token: grant.refresh_token });
  return auth;
}

const deliver = async (body) => (await control(`mailboxes/${email}/mails`, { body })).json();

test("tokens tell what they allow and are revoked", async () => {
  const auth = await client();
  const { token } = await auth.getAccessToken();
  const info = await auth.getTokenInfo(token);
  assert.equal(info.email, email);
  assert.ok(info.scopes.includes("https://www.googleapis.com/auth/gmail.modify") && info.expiry_date > Date.now());
  await auth.revokeCredentials();
  await assert.rejects(auth.getTokenInfo(token));
});

test("mail is read, labelled and put into the trash", async () => {
  const gmail = gmailApi({ version: "v1", auth: await client(), rootUrl: `${url}/` }).users;
  const userId = "me";
  const { data: before } = await gmail.getProfile({ userId });
  const { id, threadId } = await deliver("Subject: hi\r\n\r\nHello.\r\n");
  const { data: partial } = await gmail.messages.get({ userId, id, fields: "id,labelIds" });
  assert.deepEqual(Object.keys(partial).sort(), ["id", "labelIds"]);
  await gmail.messages.modify({ userId, id, requestBody: { removeLabelIds: ["UNREAD"] } });
  const { data: thread } = await gmail.threads.trash({ userId, id: threadId });
  assert.equal(thread.id, threadId);
  const historyTypes = ["labelAdded", "labelRemoved"];
  const { data } = await gmail.history.list({ userId, startHistoryId: before.historyId, historyTypes });
  const changes = data.history.flatMap((one) => [...(one.labelsAdded ?? []), ...(one.labelsRemoved ?? [])]);
  assert.deepEqual(changes.map((one) => one.labelIds), [["UNREAD"], ["TRASH"], ["INBOX"]]);
  const { data: threads } = await gmail.threads.list({ userId });
  assert.equal(threads.threads, undefined);
});

test("Pub/Sub takes the sandbox for its emulator", async () => {
  process.env.PUBSUB_EMULATOR_HOST = new URL(url).host;
  const pubsub = new PubSub({ projectId: project });
  const [topic] = await pubsub.createTopic("node-topic");
  const [subscription] = await topic.createSubscription("node-subscription");
  assert.deepEqual((await topic.getSubscriptions())[0].map((one) => one.name), [subscription.name]);
  await subscription.modifyPushConfig({ pushEndpoint: "https://push.example.com/" });
  assert.equal((await subscription.getMetadata())[0].pushConfig.pushEndpoint, "https://push.example.com/");
  await subscription.modifyPushConfig({});
  const messageId = await topic.publishMessage({ data: Buffer.from("one"), attributes: { colour: "red" } });
  const [message] = await once(subscription, "message");
  assert.equal(message.id, messageId);
  assert.equal(message.attributes.colour, "red");
  message.ack();
  await subscription.close();
  await subscription.delete();
  await topic.delete();
  assert.deepEqual(await topic.exists(), [false]);
  await pubsub.close();
});
