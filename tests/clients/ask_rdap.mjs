// Asks JavaScript clients of RDAP, as their authors ship them, and says what they make of the answers.
//
// Takes calls as JSON, [{way, url, name}], and prints a list of what each resolved to, or {error}. ask_rdap.py is the same
// for Python. Each finds its server in IANA's list, of which there is ours alone here.
import { domain } from "node-rdap";
import { lookup } from "rdapper";

const services = (url) => ({ version: "1.0", publication: "2026-01-01T00:00:00Z", services: [[["dk"], [url]]] });

// node-rdap fetches IANA's list once and keeps it, so that what it is told is where to go: here the list has one address,
// which its requests are taken from to the server that is asked.
const LISTED = "http://listed.invalid/rdap";
const realFetch = globalThis.fetch;

async function askNodeRdap(name, url) {
  globalThis.fetch = async (where, options) =>
    String(where).startsWith("https://data.iana.org/")
      ? Response.json(services(LISTED))
      : realFetch(String(where).replace(`${LISTED}/`, url), options);
  try {
    return await domain(name);
  } finally {
    globalThis.fetch = realFetch;
  }
}

async function askRdapper(name, url) {
  const options = { rdapOnly: true, timeoutMs: 60_000, customBootstrapData: services(url) };
  const { ok, record, error, code } = await lookup(name, options);
  return ok ? record : { error: String(code ?? error) };
}

const WAYS = {
  "node-rdap": ({ name, url }) => askNodeRdap(name, url),
  rdapper: ({ name, url }) => askRdapper(name, url),
};

const made = [];
for (const call of JSON.parse(process.argv[2])) {
  made.push(await WAYS[call.way](call).catch((error) => ({ error: error.message })));
}
process.stdout.write(JSON.stringify(made));
