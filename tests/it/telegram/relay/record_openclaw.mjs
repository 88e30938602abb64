// Records which calls of the Bot API the program OpenClaw makes, for `openclaw-2026.9.6.json`:
//
//     npm install openclaw@2026.9.6 --ignore-scripts --omit=optional
//     node record_openclaw.mjs node_modules/openclaw > openclaw-2026.9.6.json
//
// `calls` holds what came over the wire at a server of ours when each of its functions that send was called with
// every option they have, and after it what its source sends from elsewhere, with the place where it was read. `named`
// holds every method that its source names, and the modules that do.
import { readdir, readFile, writeFile, mkdtemp } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const home = resolve(process.argv[2]);
const scratch = await mkdtemp(join(tmpdir(), "openclaw-"));
process.env.OPENCLAW_STATE_DIR = process.env.HOME = scratch;
process.env.OPENCLAW_OFFLINE = "1";
console.log = console.info = console.warn = console.error;
const version = JSON.parse(await readFile(join(home, "package.json"), "utf8")).version;

const calls = [];
const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const method = request.url.split("/").pop();
  const call = { method, ...read(Buffer.concat(chunks).toString("utf8"), request.headers["content-type"] ?? "") };
  if (!calls.some((known) => JSON.stringify(known) === JSON.stringify(call))) calls.push(call);
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify({ ok: true, result: result(call) }));
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));

// A form's files stand in `files`, by the names of their parts: `file0`, `file1` …; what it holds as JSON is parsed.
function read(body, type) {
  if (!type.startsWith("multipart/")) return { parameters: body ? JSON.parse(body) : {} };
  const [parameters, files] = [{}, []];
  for (const part of body.split(`--${type.split("boundary=")[1]}`)) {
    const [head, ...content] = part.split("\r\n\r\n");
    const name = /name="([^"]*)"/.exec(head)?.[1];
    if (name && head.includes("filename=")) files.push(name);
    else if (name) parameters[name] = content.join("\r\n\r\n").replace(/\r\n$/, "");
  }
  const renamed = (text) => files.reduce((text, file, at) => text.replaceAll(file, `file${at}`), text);
  const parsed = (text) => (/^[[{]/.test(text) ? JSON.parse(text) : text);
  const entries = Object.entries(parameters).map(([name, value]) => [name, parsed(renamed(value))]);
  return { parameters: Object.fromEntries(entries), files: files.map((_, at) => `file${at}`) };
}

function result({ method, parameters }) {
  const thread = Number(parameters.message_thread_id) || undefined;
  const chat = { id: 1001, type: "private" };
  const message = { message_id: 1000 + calls.length, date: 1, chat, text: "x", message_thread_id: thread };
  if (method === "sendMediaGroup") return [message, { ...message, message_id: 2000 + calls.length }];
  if (method === "sendPoll") return { ...message, poll: { id: "1" } };
  if (method === "createForumTopic") return { message_thread_id: 5, name: "n" };
  return /^(send(?!ChatAction)|editMessage)/.test(method) ? message : true;
}

const modules = (await readdir(join(home, "dist"))).filter((name) => /\.m?js$/.test(name));
const load = async (name) => [name, await readFile(join(home, "dist", name), "utf8")];
const sources = await Promise.all(modules.map(load));
const telegram = sources.filter(([, text]) => text.includes("elegram"));
const senders = telegram.find(([, text]) => /export \{[^}]*sendLocationTelegram as/.test(text))[0];
const exported = Object.values(await import(join(home, "dist", senders)));
const openclaw = Object.fromEntries(exported.filter((it) => typeof it === "function").map((it) => [it.name, it]));

const apiRoot = `http://127.0.0.1:${server.address().port}`;
const account = { enabled: true, botToken: "42:abc", apiRoot, linkPreview: false };
const base = { cfg: { channels: { telegram: account } }, token: "42:abc" };
const rich = { ...base, cfg: { channels: { telegram: { ...account, richMessages: true } } } };
const buttons = [[{ text: "Yes", callback_data: "y", style: "success" }, { text: "See", url: "https://x.example" }]];
const app = [[{ text: "Open", web_app: { url: "https://x.example" } }]];
const reply = { ...base, silent: true, messageThreadId: 7, replyToMessageId: 5 };
const quote = { ...base, replyToMessageId: 5, quoteText: "a quote" };

const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const files = {
  "a.png": Buffer.from(PNG, "base64"), "b.png": Buffer.from(PNG, "base64"), "a.pdf": Buffer.from("%PDF-1.4\n"),
  "a.gif": Buffer.from("GIF89a\x01\0\x01\0\0\0\0;", "latin1"), "a.ogg": Buffer.from("OggS\0\x02"),
  "a.mp3": Buffer.from("ID3\x03\0\0\0\0\0\0"), "a.mp4": Buffer.from("\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "latin1"),
};
for (const [name, content] of Object.entries(files)) await writeFile(join(scratch, name), content);
const path = (name) => join(scratch, name);
const media = (name) => ({ mediaUrl: path(name), mediaLocalRoots: [scratch] });
const place = { latitude: 1.5, longitude: 2.5, accuracy: 30 };
const poll = { question: "Which?", options: ["a", "b"], maxSelections: 1, durationSeconds: 60 };

const { sendMessageTelegram: send } = openclaw;
for (const attempt of [
  () => send("1001", "hi **there**", { ...reply, buttons }),
  () => send("1001", "hi", { ...base, buttons: app }),
  () => send("1001", "hi", quote),
  () => send("1001", "hi", { ...base, directMessagesTopicId: 9 }),
  () => send("1001", "| a |\n|---|\n| b |", { ...rich, ...reply, cfg: rich.cfg, buttons }),
  ...Object.keys(files).map((name) => () => send("1001", "look", { ...reply, ...media(name), buttons })),
  () => send("1001", "look", { ...quote, ...media("a.png") }),
  () => send("1001", "look", { ...reply, ...media("a.pdf"), forceDocument: true }),
  () => send("1001", "look", { ...reply, ...media("a.ogg"), asVoice: true }),
  () => send("1001", "look", { ...reply, ...media("a.mp4"), asVideoNote: true }),
  () => send("1001", "look", { ...reply, mediaUrls: [path("a.png"), path("b.png")], mediaLocalRoots: [scratch] }),
  () => openclaw.sendPollTelegram("1001", poll, { ...reply, isAnonymous: false }),
  () => openclaw.sendLocationTelegram("1001", place, { ...reply, buttons }),
  () => openclaw.sendLocationTelegram("1001", { ...place, name: "Here", address: "Street 1" }, quote),
  () => openclaw.sendStickerTelegram("1001", "CAACAgIAAxk", reply),
  () => openclaw.sendTypingTelegram("1001", reply),
  () => openclaw.reactMessageTelegram("1001", 5, "👍", base),
  () => openclaw.reactMessageTelegram("1001", 5, "5368324170671202286", base),
  () => openclaw.reactMessageTelegram("1001", 5, "", base),
  () => openclaw.editMessageTelegram("1001", 5, "new **text**", { ...base, buttons }),
  () => openclaw.editMessageTelegram("1001", 5, "| a |\n|---|\n| b |", rich),
  () => openclaw.editMessageTelegram("1001", 5, "new", { ...base, buttons, editMode: "caption" }),
  () => openclaw.editMessageReplyMarkupTelegram("1001", 5, buttons, base),
  () => openclaw.deleteMessageTelegram("1001", 5, base),
  () => openclaw.pinMessageTelegram("1001", 5, base),
  () => openclaw.unpinMessageTelegram("1001", 5, base),
  () => openclaw.createForumTopicTelegram("1001", "n", { ...base, iconColor: 7322096, iconCustomEmojiId: "5" }),
  () => openclaw.editForumTopicTelegram("1001", 5, { ...base, name: "k", iconCustomEmojiId: "5" }),
]) {
  await attempt().catch((error) => console.error(`${attempt}: ${error}`));
}

const button = { chat_id: 1001, business_connection_id: "b" };
const entities = [{ type: "text_mention", offset: 0, length: 1, user: { id: 2002, is_bot: false, first_name: "B" } }];
const native = { message_id: 5, quote: "a", quote_position: 0, quote_entities: entities };
const scope = { scope: { type: "all_private_chats" }, language_code: "de" };
for (const [from, method, parameters] of [
  ["delivery: buildTelegramSendParams", "sendMessage", { chat_id: 1001, text: "hi", reply_parameters: native }],
  ["delivery: probeVideoDimensions", "sendVideo", { chat_id: 1001, video: "BAACAgIAAxk", width: 640, height: 480 }],
  ["telegram-ingress-drain-factory: callback query", "answerCallbackQuery", { callback_query_id: "1" }],
  ["telegram-ingress-drain-factory: callback actions", "sendMessage", { ...button, text: "hi" }],
  ["telegram-ingress-drain-factory: callback actions", "editMessageText", { ...button, message_id: 5, text: "hi" }],
  [
    "telegram-ingress-drain-factory: callback actions",
    "editMessageReplyMarkup",
    { ...button, message_id: 5, reply_markup: { inline_keyboard: [] } },
  ],
  [
    "telegram-ingress-drain-factory: callback actions",
    "deleteBusinessMessages",
    { business_connection_id: "b", message_ids: [5] },
  ],
  ["telegram-ingress-drain-factory: media", "getFile", { file_id: "AgACAgIAAxk" }],
  ["helpers: forum flag; send: recipient lookup", "getChat", { chat_id: 1001 }],
  ["telegram-ingress-drain-factory: reactions", "getChatMember", { chat_id: 1001, user_id: 1001 }],
  ["monitor-webhook.runtime", "getMe", {}],
  [
    "monitor-webhook.runtime",
    "setWebhook",
    { url: "https://x.example", secret_token: "s", allowed_updates: ["message"], certificate: "attach://file0" },
  ],
  ["monitor-polling.runtime", "deleteWebhook", { drop_pending_updates: false }],
  ["monitor-polling.runtime", "getUpdates", { offset: 1, limit: 100, timeout: 30, allowed_updates: ["message"] }],
  ["probe", "getWebhookInfo", {}],
  ["bot-native-command-menu", "setMyCommands", { commands: [{ command: "a", description: "b" }], ...scope }],
  ["bot-native-command-menu", "deleteMyCommands", scope],
]) {
  calls.push({ method, parameters, from });
}

const { Api } = await import(join(home, "../grammy/out/mod.js")).then((it) => it.default ?? it);
const known = new Set(Object.getOwnPropertyNames(Api.prototype));
const named = {};
for (const [name, text] of telegram) {
  for (const [, method] of text.matchAll(/(?:\bapi\.|\braw\.|\bctx\.|\}\/|"|apiMethod: ")([a-z]+[A-Z]\w*)/g)) {
    if (known.has(method)) (named[method] ??= new Set()).add(name.replace(/(-[\w-]{8})?\.m?js$/, ""));
  }
}
// Lines of at most 120 columns, broken behind commas outside of texts.
const wrap = (value) => {
  const tokens = JSON.stringify(value).match(/(?:"(?:[^"\\]|\\.)*"|[^",])*,?/g);
  let width = 4;
  return tokens.reduce((text, token) => {
    width += token.length;
    if (width <= 118) return text + token;
    width = 6 + token.length;
    return `${text}\n      ${token}`;
  }, "    ");
};
const lines = (list) => list.map(wrap).join(",\n");
const listed = Object.entries(named).sort().map(([method, at]) => ({ method, modules: [...at] }));
process.stdout.write(
  `{"openclaw": "${version}",\n  "calls": [\n${lines(calls)}\n  ],\n  "named": [\n${lines(listed)}\n  ]\n}\n`,
);
process.exit(0);
