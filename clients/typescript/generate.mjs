// Writes src/schema.ts from an OpenAPI document: `node generate.mjs <file or URL>`.
import { readFile, writeFile } from "node:fs/promises";
import openapiTS, { astToString } from "openapi-typescript";

const [source] = process.argv.slice(2);
if (source === undefined) {
  console.error("usage: node generate.mjs <file or URL of openapi.json>");
  process.exit(2);
}
const text = URL.canParse(source) ? await (await fetch(source)).text() : await readFile(source, "utf8");
const document = JSON.parse(text);

// What receivers of webhooks get is no call of this client; its schemas refer into each other in ways that have no type.
delete document.webhooks;
const tree = await openapiTS(document, {
  immutable: true,
  rootTypes: true,
  rootTypesNoSchemaPrefix: true,
  defaultNonNullable: false, // what has a default may be left out
});
await writeFile(new URL("src/schema.ts", import.meta.url), astToString(tree));
