// Writes src/schema.ts from an OpenAPI document: `node generate.mjs <file or URL>`.
import { readFile, writeFile } from "node:fs/promises";
import openapiTS, { astToString } from "openapi-typescript";
import ts from "typescript";

const [source] = process.argv.slice(2);
if (source === undefined) {
  console.error("usage: node generate.mjs <file or URL of openapi.json>");
  process.exit(2);
}
const text = URL.canParse(source) ? await (await fetch(source)).text() : await readFile(source, "utf8");
const document = JSON.parse(text);

const { schemas, parameters } = document.components;
const version = Object.values(parameters).find((one) => one.name === "Agora-Version")?.schema.enum[0];
if (version === undefined) throw new Error("the document does not say which version of the API it describes");

const events = Object.values(document.webhooks).map(({ post }) => {
  const name = post.requestBody.content["application/json"].schema.$ref.split("/").at(-1);
  const { type } = schemas[name].properties;
  // A family of types, such as those that agents choose: what they begin with, so that no other type is taken for one.
  if (type.pattern) type["x-prefix"] = post.operationId.replace(/^webhook_(.*)_any$/, "$1.");
  return name;
});
const { factory, SyntaxKind } = ts;
const tree = await openapiTS(document, {
  immutable: true,
  rootTypes: true,
  rootTypesNoSchemaPrefix: true,
  defaultNonNullable: false, // what has a default may be left out
  transform: ({ "x-prefix": prefix }) => {
    const text = factory.createKeywordTypeNode(SyntaxKind.StringKeyword);
    const span = factory.createTemplateLiteralTypeSpan(text, factory.createTemplateTail(""));
    return prefix && factory.createTemplateLiteralType(factory.createTemplateHead(prefix), [span]);
  },
});
const constants = `/** The version of the API that this describes. */
export const API_VERSION = ${JSON.stringify(version)};
/** What an endpoint of webhooks is sent; \`type\` tells which of them it is. */
export type WebhookEvent = ${events.join(" | ")};
`;
await writeFile(new URL("src/schema.ts", import.meta.url), astToString(tree) + constants);
