// Parses Mermaid diagrams as GitHub's pages do: one JSON list of {name, text} on
// standard input, a line for each that is wrong on standard output.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(process.argv[2] + "/");
const { JSDOM } = require("jsdom");
const { window } = new JSDOM("<!doctype html><body></body>");
globalThis.window = window; // what sanitizes labels wants a browser's
globalThis.document = window.document;
const { default: mermaid } = await import(pathToFileURL(require.resolve("mermaid")));

let input = "";
for await (const part of process.stdin) input += part;
for (const { name, text } of JSON.parse(input)) {
  try {
    await mermaid.parse(text);
  } catch (error) {
    console.log(`${name}: ${error.message}`);
  }
}
