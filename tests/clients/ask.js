// Asks JavaScript clients, as their authors ship them, and says what they make of the answers.
//
// Takes calls as JSON, [{way, host, port, name}], and prints a list of what each resolved to, or {error}.
// ask.py is the same for Python.
"use strict";

const net = require("node:net");
const { dk } = require("whois/servers.json");
const whoisJson = require("whois-json");
const whoiser = require("whoiser");

const TIMEOUT = 60_000; // ms; what a busy machine takes is nobody's fault

// whoiser takes a host and goes to its port 43; here its connections go to our port.
async function askWhoiser(query, { host, port }) {
  const connect = net.connect;
  net.connect = (options, connected) => connect({ ...options, port }, connected);
  try {
    return whoiser.firstResult(await whoiser.domain(query, { host, follow: 1, timeout: TIMEOUT }));
  } finally {
    net.connect = connect;
  }
}

const WAYS = {
  // `dk` holds the options that whois, on which whois-json is built, puts before a .dk name.
  "whois-json": ({ host, port, name }) => whoisJson(name, { server: { ...dk, host, port } }),
  whoiser: (call) => askWhoiser(call.name, call),
  // A name with options before it has to be ASCII: whoiser would make an A-label of the whole.
  "whoiser with options": (call) => askWhoiser(`--charset=utf-8 --show-handles ${new URL(`http://${call.name}`).hostname}`, call),
};

async function main() {
  const made = [];
  for (const call of JSON.parse(process.argv[2])) {
    made.push(await WAYS[call.way](call).catch((error) => ({ error: error.name })));
  }
  process.stdout.write(JSON.stringify(made));
}

main();
